//! People act by git push and the forge's HTTP alone, each with their own token; and what they see.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use landfall::sandbox::User;

use super::git::Clone;
use super::world::{Note, World, text};

/// A project with a VM, a database and storage.
pub(crate) const SHOP: &str = include_str!("../../requests-repo-template/requests/web-team/shop.yaml");
/// Where it is asked for.
pub(crate) const SHOP_FILE: &str = "requests/web-team/shop.yaml";

/// What the ledger says once that project is there.
pub(crate) const SHOP_IS_THERE: [&str; 3] = [
    "created database/orders of Project/shop",
    "created storage/pictures of Project/shop",
    "created virtual-machine/web of Project/shop",
];

/// What the comment on a merge request says first: somebody has to sign it off.
pub(crate) const WAITING: &str = "✋ Waiting for a sign-off";
/// It is signed off.
pub(crate) const READY: &str = "✅ Ready to merge";
/// What was signed off is there.
pub(crate) const DONE: &str = "✅ Done";
/// It was merged, and nothing is provisioned.
pub(crate) const HELD: &str = "⛔ Held";
/// It cannot be signed off.
pub(crate) const REFUSED: &str = "❌ Refused";

/// Somebody with an account on the forge.
#[derive(Clone, Copy)]
pub(crate) struct Person<'w> {
    pub(super) world: &'w World,
    pub(super) user: &'w User,
}

impl<'w> Person<'w> {
    /// Reads something on the forge.
    pub(crate) async fn reads(&self, path: &str) -> Value {
        self.does(Method::GET, path, &Value::Null).await
    }

    /// Does something on the forge, which must let them.
    pub(crate) async fn does(&self, method: Method, path: &str, body: &Value) -> Value {
        let (status, text) = self.tries(method.clone(), path, body).await;
        assert!(
            status.is_success(),
            "{} {method} {path}: {status} {text}",
            self.user.username
        );
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Tries something on the forge, which may not let them.
    pub(crate) async fn tries(&self, method: Method, path: &str, body: &Value) -> (StatusCode, String) {
        let url = self
            .world
            .sandbox
            .url()
            .join("api/v4/")
            .unwrap()
            .join(path)
            .unwrap();
        let mut request = self
            .world
            .client
            .request(method, url)
            .header("PRIVATE-TOKEN", &self.user.token);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// Their clone of the requests repository, as fresh as the forge's.
    pub(crate) fn clone(&self) -> Clone {
        let folder = self
            .world
            .directory
            .path()
            .join("people")
            .join(&self.user.username);
        let path = folder.join("requests");
        tokio::task::block_in_place(|| {
            if path.exists() {
                let clone = Clone { path };
                clone.run(&["fetch", "--quiet", "--prune", "origin"]);
                return clone;
            }
            std::fs::create_dir_all(&folder).unwrap();
            let url = self.world.sandbox.url().join("platform/requests.git").unwrap();
            Clone::of(&url, &self.user.username, &self.user.token, &path)
        })
    }

    /// Tries to clone a repository by its address, into a folder of that name.
    pub(crate) fn clones(&self, address: &str, name: &str) -> Result<Clone, String> {
        let folder = self
            .world
            .directory
            .path()
            .join("people")
            .join(&self.user.username);
        std::fs::create_dir_all(&folder).unwrap();
        let url = address.parse().unwrap();
        tokio::task::block_in_place(|| {
            Clone::attempt_of(&url, &self.user.username, &self.user.token, &folder.join(name))
        })
    }

    /// Commits files on a branch, which begins at `main` if it is new, and pushes it. Without content a file goes.
    pub(crate) fn pushes(&self, branch: &str, files: &[(&str, Option<&str>)]) -> String {
        self.commits(branch, files);
        self.sends(&["origin", branch])
    }

    /// The same, and the push opens a merge request.
    pub(crate) async fn opens(&self, branch: &str, files: &[(&str, Option<&str>)]) -> MergeRequest<'w> {
        self.commits(branch, files);
        let title = format!("merge_request.title=Ask for {branch}");
        self.sends(&[
            "-o",
            "merge_request.create",
            "-o",
            "merge_request.target=main",
            "-o",
            &title,
            "origin",
            branch,
        ]);
        self.finds(branch).await
    }

    /// Asks for the project of the stories.
    pub(crate) async fn asks_for_a_shop(&self) -> MergeRequest<'w> {
        self.opens("shop", &[(SHOP_FILE, Some(SHOP))]).await
    }

    /// Pushes straight onto `main`.
    pub(crate) fn pushes_to_main(&self, files: &[(&str, Option<&str>)]) -> String {
        self.pushes("main", files)
    }

    /// The same as somebody else's work: `Name <e-mail>`.
    pub(crate) fn pushes_as(&self, branch: &str, files: &[(&str, Option<&str>)], author: &str) {
        self.commits(branch, files);
        let clone = self.clone();
        tokio::task::block_in_place(|| {
            clone.run(&["commit", "--quiet", "--amend", "--no-edit", "--author", author]);
        });
        self.sends(&["origin", branch]);
    }

    /// Pushes what a clone of theirs holds on a branch, whatever stood there before.
    pub(crate) fn forces(&self, branch: &str) -> String {
        self.sends(&["--force", "origin", branch])
    }

    /// Opens a merge request for a branch that is there.
    pub(crate) async fn opens_from(&self, branch: &str) -> MergeRequest<'w> {
        let asked =
            json!({ "source_branch": branch, "target_branch": "main", "title": format!("Ask for {branch}") });
        let path = format!("projects/{}/merge_requests", self.world.project);
        self.does(Method::POST, &path, &asked).await;
        self.finds(branch).await
    }

    /// Writes one file on a new branch by the forge's own editor, and opens a merge request for it.
    pub(crate) async fn writes_on_the_forge(
        &self,
        branch: &str,
        path: &str,
        content: &str,
    ) -> MergeRequest<'w> {
        let commit = json!({
            "branch": branch,
            "start_branch": "main",
            "commit_message": format!("Work on {branch}"),
            "actions": [{ "action": "create", "file_path": path, "content": content }],
        });
        let commits = format!("projects/{}/repository/commits", self.world.project);
        self.does(Method::POST, &commits, &commit).await;
        self.opens_from(branch).await
    }

    /// Makes a fork of their own, writes new files there, and opens a merge request from it.
    pub(crate) async fn opens_from_a_fork(&self, branch: &str, files: &[(&str, &str)]) -> MergeRequest<'w> {
        let target = self.world.project;
        let fork = format!("projects/{target}/fork");
        let fork = self.does(Method::POST, &fork, &json!({})).await["id"].clone();
        let action = |(path, content): &(&str, &str)| {
            let known = self.clone().path.join(path).exists();
            let action = if known { "update" } else { "create" };
            json!({ "action": action, "file_path": path, "content": content })
        };
        let commit = json!({
            "branch": branch,
            "start_branch": "main",
            "commit_message": format!("Work on {branch}"),
            "actions": files.iter().map(action).collect::<Vec<_>>(),
        });
        let commits = format!("projects/{fork}/repository/commits");
        self.does(Method::POST, &commits, &commit).await;
        let asked = json!({
            "source_branch": branch,
            "target_branch": "main",
            "target_project_id": target,
            "title": format!("Ask for {branch}"),
        });
        let path = format!("projects/{fork}/merge_requests");
        self.does(Method::POST, &path, &asked).await;
        self.finds(branch).await
    }

    /// Closes a merge request.
    pub(crate) async fn closes(&self, merge_request: &MergeRequest<'_>) {
        self.does(
            Method::PUT,
            &merge_request.at(""),
            &json!({ "state_event": "close" }),
        )
        .await;
    }

    /// Pushes a commit that is in their clone, whatever it is, to a branch of that name, and opens a merge request.
    pub(crate) async fn opens_with(&self, branch: &str, commit: &str) -> MergeRequest<'w> {
        let title = format!("merge_request.title=Ask for {branch}");
        self.sends(&[
            "-o",
            "merge_request.create",
            "-o",
            "merge_request.target=main",
            "-o",
            &title,
            "origin",
            &format!("{commit}:refs/heads/{branch}"),
        ]);
        self.finds(branch).await
    }

    /// Pushes a commit that is in their clone straight onto `main`.
    pub(crate) fn pushes_commit_to_main(&self, commit: &str) {
        self.sends(&["origin", &format!("{commit}:refs/heads/main")]);
    }

    fn commits(&self, branch: &str, files: &[(&str, Option<&str>)]) {
        let clone = self.clone();
        tokio::task::block_in_place(|| {
            let remote = format!("origin/{branch}");
            let known = clone
                .attempt(&["rev-parse", "--verify", "--quiet", &remote])
                .success;
            let from = if known { remote.as_str() } else { "origin/main" };
            clone.run(&["switch", "--quiet", "--no-track", "--force-create", branch, from]);
            for (path, content) in files {
                let file = clone.path.join(path);
                match content {
                    Some(content) => {
                        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                        std::fs::write(file, content).unwrap();
                    }
                    None => std::fs::remove_file(file).unwrap(),
                }
            }
            clone.run(&["add", "--all"]);
            clone.run(&["commit", "--quiet", "--message", &format!("Work on {branch}")]);
        });
    }

    fn sends(&self, arguments: &[&str]) -> String {
        let clone = self.clone();
        let all: Vec<&str> = ["push", "--quiet"].iter().chain(arguments).copied().collect();
        tokio::task::block_in_place(|| {
            clone.run(&all);
            clone.run(&["rev-parse", "HEAD"])
        })
    }

    /// The open merge request of a branch.
    pub(crate) async fn finds(&self, branch: &str) -> MergeRequest<'w> {
        let path = format!(
            "projects/{}/merge_requests?state=opened&source_branch={branch}",
            self.world.project
        );
        let number = self
            .world
            .until(&format!("a merge request of {branch}"), async || {
                self.reads(&path).await[0]["iid"].as_u64()
            })
            .await;
        MergeRequest {
            world: self.world,
            kind: "merge_requests",
            number,
        }
    }

    /// Presses Approve.
    pub(crate) async fn approves(&self, merge_request: &MergeRequest<'_>) {
        self.does(Method::POST, &merge_request.at("/approve"), &json!({}))
            .await;
    }

    /// Takes the approval back.
    pub(crate) async fn revokes(&self, merge_request: &MergeRequest<'_>) {
        self.does(Method::POST, &merge_request.at("/unapprove"), &json!({}))
            .await;
    }

    /// Presses Merge.
    pub(crate) async fn merges(&self, merge_request: &MergeRequest<'_>) {
        self.merges_with(merge_request, &json!({})).await;
    }

    /// Presses Merge, with something ticked.
    pub(crate) async fn merges_with(&self, merge_request: &MergeRequest<'_>, options: &Value) {
        self.does(Method::PUT, &merge_request.at("/merge"), options).await;
    }

    /// Sends the merge request to another branch.
    pub(crate) async fn retargets(&self, merge_request: &MergeRequest<'_>, branch: &str) {
        self.does(
            Method::PUT,
            &merge_request.at(""),
            &json!({ "target_branch": branch }),
        )
        .await;
    }

    /// Writes a comment; answers its number.
    pub(crate) async fn comments(&self, merge_request: &MergeRequest<'_>, body: &str) -> u64 {
        let note = self
            .does(
                Method::POST,
                &merge_request.at("/notes"),
                &json!({ "body": body }),
            )
            .await;
        note["id"].as_u64().unwrap()
    }

    /// Changes a comment.
    pub(crate) async fn edits(&self, merge_request: &MergeRequest<'_>, note: u64, body: &str) {
        let path = merge_request.at(&format!("/notes/{note}"));
        self.does(Method::PUT, &path, &json!({ "body": body })).await;
    }
}

/// A merge request, or an issue, as people see it.
#[derive(Clone, Copy)]
pub(crate) struct MergeRequest<'w> {
    pub(super) world: &'w World,
    /// What the forge's API calls its kind.
    pub(super) kind: &'static str,
    pub(crate) number: u64,
}

impl MergeRequest<'_> {
    /// Its place in the forge's API.
    pub(crate) fn at(&self, rest: &str) -> String {
        format!(
            "projects/{}/{}/{}{rest}",
            self.world.project, self.kind, self.number
        )
    }

    /// The head of its branch.
    pub(crate) async fn head(&self) -> String {
        text(&self.world.person("root").reads(&self.at("")).await["sha"]).to_owned()
    }

    /// What Landfall wrote, of one kind: `report`, `result`, `answer`.
    pub(crate) async fn written(&self, kind: &str) -> Vec<Note> {
        let marker = format!("<!-- landfall:{kind} ");
        let notes = self.world.notes_at(&self.at("/notes")).await;
        notes
            .into_iter()
            .filter(|note| note.author == "landfall" && note.body.starts_with(&marker))
            .collect()
    }

    /// The admin reads the plan and approves.
    pub(crate) async fn is_signed_off(&self) {
        self.shows(WAITING, &["press **Approve**"]).await;
        self.world.ada().approves(self).await;
        self.shows(READY, &["Signed off by ada", "merge it now"]).await;
    }

    /// The admin approves, and merges.
    pub(crate) async fn lands(&self) {
        self.is_signed_off().await;
        self.world.ada().merges(self).await;
    }

    /// The admin approves and merges, and what was asked for is there.
    pub(crate) async fn is_done(&self) {
        self.lands().await;
        self.shows(DONE, &["Nothing to do"]).await;
    }

    /// Waits until the comment has this verdict and says all of this; answers it. There is never more than one.
    pub(crate) async fn shows(&self, verdict: &str, words: &[&str]) -> String {
        self.shows_where(verdict, words, |_| true).await
    }

    /// The same, of a comment that is about this head.
    pub(crate) async fn shows_at(&self, head: &str, verdict: &str, words: &[&str]) -> String {
        let at = format!("at commit `{}`", &head[..8]);
        self.shows_where(verdict, words, |body| body.contains(&at)).await
    }

    /// The same, of a comment that something else is true of, too.
    pub(crate) async fn shows_where(
        &self,
        verdict: &str,
        words: &[&str],
        holds: impl Fn(&str) -> bool,
    ) -> String {
        let what = format!(
            "the comment on !{} to show {verdict:?} and say {words:?}",
            self.number
        );
        self.world
            .until(&what, async || {
                let reports = self.written("report").await;
                assert!(reports.len() < 2, "two reports: {reports:?}");
                let body = reports.into_iter().next()?.body;
                let shown = headline(&body) == verdict
                    && words.iter().all(|word| body.contains(word))
                    && holds(&body);
                shown.then_some(body)
            })
            .await
    }

    /// Waits for the result, a note of its own.
    pub(crate) async fn result(&self) -> String {
        self.results(1).await.remove(0)
    }

    /// Waits until there are so many results, oldest first.
    pub(crate) async fn results(&self, count: usize) -> Vec<String> {
        self.world
            .until(&format!("result {count} on !{}", self.number), async || {
                let results = self.written("result").await;
                (results.len() >= count).then(|| results.into_iter().map(|note| note.body).collect())
            })
            .await
    }

    /// Waits until the one note that answers commands says all of this; answers it.
    pub(crate) async fn answer(&self, words: &[&str]) -> String {
        let what = format!("the answer on !{} to say {words:?}", self.number);
        self.world
            .until(&what, async || {
                let answers = self.written("answer").await;
                assert!(answers.len() < 2, "one answer tells them all: {answers:?}");
                let body = answers.into_iter().next()?.body;
                words.iter().all(|word| body.contains(word)).then_some(body)
            })
            .await
    }

    /// The digest of what the comment shows.
    pub(crate) async fn digest(&self) -> String {
        self.world
            .until("a digest in the comment", async || {
                let body = self.written("report").await.into_iter().next()?.body;
                let after = body.split("`/landfall approve ").nth(1)?;
                Some(after.split('`').next()?.to_owned())
            })
            .await
    }

    /// The states of the commit statuses of a head, oldest first.
    pub(crate) async fn statuses(&self, head: &str) -> Vec<String> {
        let path = format!(
            "projects/{}/repository/commits/{head}/statuses?per_page=100&all=true",
            self.world.project
        );
        let statuses = self.world.person("root").reads(&path).await;
        let mut statuses = statuses.as_array().unwrap().clone();
        statuses.sort_by_key(|status| status["id"].as_u64());
        statuses
            .iter()
            .map(|status| format!("{}: {}", text(&status["status"]), text(&status["description"])))
            .collect()
    }
}

/// The verdict of a comment.
pub(crate) fn headline(body: &str) -> &str {
    body.lines()
        .find_map(|line| line.strip_prefix("### "))
        .unwrap_or_default()
}
