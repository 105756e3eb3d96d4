//! The pages, as a person with a browser meets them.

use http::{StatusCode, header};
use landfall::sandbox::User;
use serde_json::{Value, json};

use super::World;

/// A browser of one person: it keeps the cookie and follows nothing.
struct Browser<'a> {
    world: &'a World,
    client: reqwest::Client,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(world: &'a World) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            world,
            client,
            cookie: None,
        }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let mut request = self.client.get(self.world.sandbox.url().join(path).unwrap());
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let answer = request.send().await.unwrap();
        let policy = answer.headers().get(header::CONTENT_SECURITY_POLICY);
        assert!(policy.is_none_or(|policy| policy.to_str().unwrap().starts_with("default-src 'none'")));
        (answer.status(), answer.text().await.unwrap())
    }

    async fn post_from(
        &self,
        origin: Option<&str>,
        path: &str,
        fields: &[(&str, &str)],
    ) -> reqwest::Response {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut request = self
            .client
            .post(self.world.sandbox.url().join(path).unwrap())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        request.send().await.unwrap()
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String) {
        let origin = self.world.sandbox.url().origin().ascii_serialization();
        let answer = self.post_from(Some(&origin), path, fields).await;
        (answer.status(), answer.text().await.unwrap())
    }

    async fn sign_in(mut self, user: &User, back: &str) -> Self {
        let origin = self.world.sandbox.url().origin().ascii_serialization();
        let fields = [("token", user.token.as_str()), ("back", back)];
        let answer = self.post_from(Some(&origin), "-/sign_in", &fields).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(
            answer.headers()[header::LOCATION],
            if back.starts_with("/team") { back } else { "/" }
        );
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
        assert!(
            !cookie.contains(&user.token),
            "the browser does not keep the token"
        );
        self.cookie = cookie.split(';').next().map(str::to_owned);
        self
    }
}

const PAGE: &str = "team/requests/-/merge_requests/1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_signs_in_once_then_approves_comments_and_merges() {
    let world = World::new().await;
    world.hook().await;
    let head = world.open(&world.clone_as(&world.developer, "clone"), "ask", "a");
    let anonymous = Browser::new(&world);
    let (status, page) = anonymous.get(PAGE).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("+content") && page.contains("Sign in with your token"),
        "{page}"
    );
    assert!(
        !page.contains("<button class=\"main\">"),
        "no buttons for nobody: {page}"
    );

    let olga = Browser::new(&world)
        .sign_in(&world.owner, &format!("/{PAGE}"))
        .await;
    let (_, page) = olga.get(PAGE).await;
    assert!(
        page.contains("@olga ") && page.contains(">Approve<") && page.contains(">Merge<"),
        "{page}"
    );
    let approve = format!("{PAGE}/approve");
    assert_eq!(
        olga.post(&approve, &[("sha", &head)]).await.0,
        StatusCode::SEE_OTHER
    );
    assert_eq!(
        olga.post(&format!("{PAGE}/notes"), &[("body", "<i>fine</i>")])
            .await
            .0,
        StatusCode::SEE_OTHER
    );
    let (_, page) = olga.get(PAGE).await;
    assert!(
        page.contains(">Withdraw approval<") && page.contains("@olga approved"),
        "{page}"
    );
    assert!(
        page.contains("&lt;i&gt;fine&lt;/i&gt;") && !page.contains("<i>"),
        "{page}"
    );

    // Who looked at an older commit is told so, and nothing is merged.
    let merge = format!("{PAGE}/merge");
    let (status, page) = olga.post(&merge, &[("sha", &"0".repeat(40))]).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(page.contains("Not done. SHA does not match"), "{page}");
    assert_eq!(
        olga.post(&merge, &[("sha", &head)]).await.0,
        StatusCode::SEE_OTHER
    );
    let one = world.get(&world.owner, &world.at("merge_requests/1")).await;
    assert_eq!(
        (&one["state"], &one["merge_user"]["username"]),
        (&json!("merged"), &json!("olga"))
    );
    assert_eq!(
        world.events().await[2..5],
        ["merge_request approved", "note create", "merge_request merge"],
        "the buttons tell hooks as the API does"
    );
    let log = world.sandbox.access_log();
    let merged = log
        .iter()
        .find(|entry| entry.path.ends_with("/1/merge") && entry.status == 303)
        .unwrap();
    assert_eq!(merged.user.as_deref(), Some("olga"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_from_elsewhere_does_nothing() {
    let world = World::new().await;
    let head = world.open(&world.clone_as(&world.developer, "clone"), "ask", "a");
    let olga = Browser::new(&world)
        .sign_in(&world.owner, "//evil.example/")
        .await;
    let merge = format!("{PAGE}/merge");
    let port = world.sandbox.url().port().unwrap();
    let elsewhere = format!("http://127.0.0.1:{}", port ^ 1);
    for origin in [
        None,
        Some("null"),
        Some("http://evil.example"),
        Some(elsewhere.as_str()),
    ] {
        let answer = olga.post_from(origin, &merge, &[("sha", &head)]).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{origin:?}");
    }
    // A link merges nothing either, and the session opens no API.
    assert_eq!(olga.get(&merge).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(olga.get("api/v4/user").await.0, StatusCode::UNAUTHORIZED);
    let one = world.get(&world.owner, &world.at("merge_requests/1")).await;
    assert_eq!(one["state"], "opened");

    // Rights are the person's: a developer may not merge into main, a stranger sees nothing.
    let dev = Browser::new(&world).sign_in(&world.developer, "/").await;
    assert!(!dev.get(PAGE).await.1.contains(">Merge<"));
    assert_eq!(
        dev.post(&merge, &[("sha", &head)]).await.0,
        StatusCode::UNAUTHORIZED
    );
    let eve = Browser::new(&world).sign_in(&world.stranger, "/").await;
    assert_eq!(eve.get(PAGE).await.0, StatusCode::NOT_FOUND);

    // A session ends with its token, or when one signs out.
    world.sandbox.revoke_token(&world.developer.token).unwrap();
    assert!(dev.get(PAGE).await.1.contains("Sign in with your token"));
    assert_eq!(olga.post("-/sign_out", &[]).await.0, StatusCode::SEE_OTHER);
    assert!(olga.get(PAGE).await.1.contains("Sign in with your token"));
    let (status, page) = Browser::new(&world)
        .post("-/sign_in", &[("token", "glpat-no")])
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(
        page.contains("nobody&#39;s token") && !page.contains("glpat-no"),
        "{page}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_and_issues_have_pages() {
    let world = World::new().await;
    world.open(&world.clone_as(&world.developer, "clone"), "ask", "a");
    let issue = json!({"title": "A \"direct\" push", "description": "<script>alert(1)</script>"});
    world.post(&world.owner, &world.at("issues"), issue).await;
    world
        .post(
            &world.owner,
            &world.at("issues/1/notes"),
            json!({"body": "Seen & done"}),
        )
        .await;
    let anonymous = Browser::new(&world);
    let (_, home) = anonymous.get("").await;
    assert!(home.contains("<a href=\"/team/requests\">"), "{home}");
    let (_, project) = anonymous.get("team/requests").await;
    assert!(
        project.contains("/team/requests/-/merge_requests/1") && project.contains(">Ask for ask<"),
        "{project}"
    );
    assert!(
        project.contains("/team/requests/-/issues/1") && project.contains("A &quot;direct&quot; push"),
        "{project}"
    );
    let (_, issue) = anonymous.get("team/requests/-/issues/1").await;
    assert!(
        issue.contains("&lt;script&gt;") && !issue.contains("<script") && issue.contains("Seen &amp; done"),
        "{issue}"
    );
    for path in [
        "team/absent",
        "team/requests/-/merge_requests/9",
        "team/requests/-/issues/x",
        "team",
    ] {
        assert_eq!(anonymous.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let address = world.get(&world.owner, &world.at("issues/1")).await["web_url"].clone();
    assert_eq!(
        address,
        Value::from(
            world
                .sandbox
                .url()
                .join("team/requests/-/issues/1")
                .unwrap()
                .as_str()
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_are_rendered_and_their_links_lead_to_lines() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    clone.run(&["checkout", "--quiet", "-b", "team/odd"]);
    clone.commit("binary", "\0", "No text");
    let head = clone.commit("a dir/é #1.yaml", "one: 1\n<b>two</b>\n", "Odd & ends");
    let create = [
        "push",
        "--quiet",
        "-o",
        "merge_request.create",
        "origin",
        "team/odd",
    ];
    clone.run(&create);
    let path = "a%20dir/%C3%A9%20%231.yaml";
    let by_branch = format!("team/requests/-/blob/team/odd/{path}");
    let link = world.sandbox.url().join(&by_branch).unwrap();
    let body = format!("### Plan\n\n|a|\n|-|\n|[odd]({link}#L2)|\n\n<script>alert(1)</script>");
    let notes = world.at("merge_requests/1/notes");
    world.post(&world.owner, &notes, json!({"body": body})).await;

    let browser = Browser::new(&world);
    let (_, page) = browser.get(PAGE).await;
    let anchor = format!("<td><a rel=\"nofollow noreferrer\" href=\"{link}#L2\">odd</a></td>");
    assert!(page.contains("<h4>Plan</h4>") && page.contains(&anchor), "{page}");
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script"),
        "{page}"
    );

    for address in [by_branch, format!("team/requests/-/blob/{head}/{path}")] {
        let (status, page) = browser.get(&address).await;
        assert_eq!(status, StatusCode::OK, "{address}");
        let second = "<span id=\"L2\"><a href=\"#L2\">2</a>&lt;b&gt;two&lt;/b&gt;</span>";
        assert!(page.contains(second) && page.contains("é #1.yaml"), "{page}");
    }
    let (_, page) = browser.get("team/requests/-/blob/team/odd/binary").await;
    assert!(page.contains("Not shown: 1 bytes"), "{page}");
    let commit = format!("team/requests/-/commit/{head}");
    let (_, page) = browser.get(&commit).await;
    assert!(
        page.contains("Odd &amp; ends") && page.contains("+one: 1"),
        "{page}"
    );
    let (_, page) = browser.get("team/requests/-/commits/team/odd").await;
    assert!(
        page.contains(&format!("/{commit}\"")) && page.contains("No text"),
        "{page}"
    );
    for path in [
        "team/requests/-/blob/main",
        "team/requests/-/blob/main/absent",
        "team/requests/-/blob/absent/README.md",
        "team/requests/-/blob/main/%2E%2E/state.json",
        "team/requests/-/commit/absent",
        "team/requests/-/commits/absent",
    ] {
        assert_eq!(browser.get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    // A private file is nobody's who may not see the project.
    let eve = Browser::new(&world).sign_in(&world.stranger, "/").await;
    assert_eq!(eve.get(&commit).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_button_that_cannot_act_says_why() {
    let world = World::new().await;
    let clone = world.clone_as(&world.developer, "clone");
    world.open(&clone, "ask", "a");
    world.open(&clone, "more", "b");
    let olga = Browser::new(&world).sign_in(&world.owner, "/").await;
    let draft = json!({"title": "Draft: not yet"});
    let one = world.at("merge_requests/1");
    world.ok(&world.developer, "PUT", &one, draft).await;
    let (_, page) = olga.get(PAGE).await;
    assert!(
        page.contains("Cannot be merged now: it is a draft") && !page.contains(">Merge<"),
        "{page}"
    );
    let (status, page) = olga.post(&format!("{PAGE}/merge"), &[]).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(
        page.contains("Not done. It cannot be merged: it is a draft"),
        "{page}"
    );

    // What is behind where that is not allowed is rebased with a button.
    let project = format!("projects/{}", world.project);
    let linear = json!({"merge_method": "ff"});
    world.ok(&world.owner, "PUT", &project, linear).await;
    let ready = json!({"title": "Now"});
    world.ok(&world.developer, "PUT", &one, ready).await;
    let merge = world.at("merge_requests/1/merge");
    world.ok(&world.owner, "PUT", &merge, json!({})).await;
    let second = "team/requests/-/merge_requests/2";
    let (_, page) = olga.get(second).await;
    assert!(
        page.contains("it is behind the target branch") && page.contains(">Rebase<"),
        "{page}"
    );
    let rebased = olga.post(&format!("{second}/rebase"), &[]).await;
    assert_eq!(rebased.0, StatusCode::SEE_OTHER);
    assert!(olga.get(second).await.1.contains(">Merge<"));
}
