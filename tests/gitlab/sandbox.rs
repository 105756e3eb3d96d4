//! The same adapter against the sandbox forge, which keeps state: a requests repository from its making to a merge.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use jiff::Timestamp;
use landfall::clock::{Clock as _, ManualClock, SystemClock};
use landfall::domain::ids::{CommitId, MergeRequestNumber, UserId};
use landfall::domain::secret::Secret;
use landfall::forge::gitlab::projects::{GitLabProjects, GroupProject};
use landfall::forge::gitlab::webhook::{WebhookSecrets, parse, verify};
use landfall::forge::gitlab::{GitLab, GitLabOptions};
use landfall::forge::{
    AccessLevel, CommitState, CommitStatus, Event, FileAction, Forge as _, ForgeError, MergeRequestState,
    NewCommit, NewHook, NewIssue, NewProject, Thread,
};
use landfall::http_client::{self, HttpClientOptions};
use landfall::sandbox::{Options, RequestAction, RequestFault, Sandbox, User};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const MARKER: &str = "<!-- landfall:direct-push:1 -->";
const SIGNING_TOKEN: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A sandbox GitLab under a sub-path: its administrator, our bot, a developer, and one project of theirs.
struct World {
    sandbox: Sandbox,
    clock: ManualClock,
    http: reqwest::Client,
    admin: User,
    bot: User,
    developer: User,
    project: GroupProject,
    gitlab: GitLab,
    _directory: tempfile::TempDir,
}

impl World {
    async fn begin() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ids = || uuid::Uuid::from_u64_pair(rand_part(), rand_part());
        let mut options = Options::new(directory.path(), || SystemClock.now(), ids);
        options.path_prefix = Some("/gitlab".to_owned());
        let sandbox = Sandbox::start(options).await.unwrap();
        let admin = sandbox
            .add_user("root", "Administrator", "root@example.com", true)
            .unwrap();
        let bot = sandbox
            .add_user("landfall", "Landfall", "landfall@example.com", false)
            .unwrap();
        let developer = sandbox.add_user("ada", "Ada", "ada@example.com", false).unwrap();
        let http = http_client::build(&HttpClientOptions::default()).unwrap();
        let clock = ManualClock::at(SystemClock.now());
        call(
            &sandbox,
            &http,
            &admin,
            Method::POST,
            "groups",
            json!({"name": "Acme", "path": "acme"}),
        )
        .await;
        let founder = projects(&sandbox, &http, &clock, &admin);
        let project = founder
            .create(&NewProject {
                path: "requests".to_owned(),
                group: "acme".to_owned(),
                default_branch: "main".to_owned(),
                description: "What teams ask for".to_owned(),
                topics: Vec::new(),
            })
            .await
            .unwrap();
        for (user, level) in [(&bot, 40), (&developer, 30)] {
            let path = format!("projects/{}/members", project.id);
            let member = json!({"user_id": user.id, "access_level": level});
            call(&sandbox, &http, &admin, Method::POST, &path, member).await;
        }
        // A private group tells of its members only to members.
        let guest = json!({"user_id": bot.id, "access_level": 10});
        call(
            &sandbox,
            &http,
            &admin,
            Method::POST,
            "groups/acme/members",
            guest,
        )
        .await;
        founder
            .commit_files(&commit(project.id, "main", "README.md", b"# Requests\n"))
            .await
            .unwrap();
        let gitlab = adapter(&sandbox, &http, &clock, project.id, &bot);
        Self {
            sandbox,
            clock,
            http,
            admin,
            bot,
            developer,
            project,
            gitlab,
            _directory: directory,
        }
    }

    async fn call(&self, user: &User, method: Method, path: &str, body: Value) -> Value {
        let path = format!("projects/{}/{path}", self.project.id);
        call(&self.sandbox, &self.http, user, method, &path, body).await
    }

    /// The developer's merge request with one file.
    async fn merge_request(&self) -> (MergeRequestNumber, CommitId) {
        let branch = json!({"branch": "add-orders", "ref": "main"});
        self.call(&self.developer, Method::POST, "repository/branches", branch)
            .await;
        let developer = projects(&self.sandbox, &self.http, &self.clock, &self.developer);
        let file = commit(
            self.project.id,
            "add-orders",
            "requests/shop/orders.yaml",
            b"kind: Project\n",
        );
        let head = developer.commit_files(&file).await.unwrap();
        let opened = json!({"source_branch": "add-orders", "target_branch": "main", "title": "Orders"});
        let opened = self
            .call(&self.developer, Method::POST, "merge_requests", opened)
            .await;
        (MergeRequestNumber(opened["iid"].as_u64().unwrap()), head)
    }
}

/// Not to be guessed and not the same twice: what the sandbox asks of an id.
fn rand_part() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}

fn adapter(
    sandbox: &Sandbox,
    http: &reqwest::Client,
    clock: &ManualClock,
    project: u64,
    user: &User,
) -> GitLab {
    GitLab::new(GitLabOptions {
        base_url: sandbox.url(),
        project,
        token: Secret::new(&user.token).into(),
        client: http.clone(),
        clock: Arc::new(clock.clone()),
    })
    .unwrap()
}

fn projects(sandbox: &Sandbox, http: &reqwest::Client, clock: &ManualClock, user: &User) -> GitLabProjects {
    let token = Secret::new(&user.token).into();
    GitLabProjects::new(&sandbox.url(), token, http.clone(), Arc::new(clock.clone())).unwrap()
}

fn commit(project: u64, branch: &str, path: &str, content: &[u8]) -> NewCommit {
    NewCommit {
        project,
        branch: branch.to_owned(),
        message: format!("Add {path}"),
        files: vec![(path.to_owned(), FileAction::Create(content.to_vec()))],
    }
}

/// What a person does, with their own token.
async fn call(
    sandbox: &Sandbox,
    http: &reqwest::Client,
    user: &User,
    method: Method,
    path: &str,
    body: Value,
) -> Value {
    let url = sandbox.url().join(&format!("api/v4/{path}")).unwrap();
    let request = http
        .request(method, url)
        .header("private-token", &user.token)
        .json(&body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

fn an_hour_ago() -> Timestamp {
    SystemClock
        .now()
        .checked_sub(jiff::SignedDuration::from_hours(1))
        .unwrap()
}

#[tokio::test]
async fn a_merge_request_is_read_one_call_a_question() {
    let world = World::begin().await;
    let (number, head) = world.merge_request().await;
    let gitlab = &world.gitlab;
    let mark = world.sandbox.access_log_len();

    let found = gitlab.merge_request(number).await.unwrap();
    assert_eq!(
        (found.state, found.head.as_ref(), found.from_fork),
        (MergeRequestState::Open, Some(&head), false)
    );
    assert_eq!(
        (found.author.id, found.target_branch.as_str()),
        (UserId(world.developer.id), "main")
    );
    assert_eq!(gitlab.open_merge_requests("main").await.unwrap(), [found]);
    assert!(gitlab.open_merge_requests("other").await.unwrap().is_empty());
    let versions = gitlab.versions(number).await.unwrap();
    assert_eq!(
        versions.iter().map(|version| &version.head).collect::<Vec<_>>(),
        [&head]
    );
    assert!(gitlab.approvals(number).await.unwrap().is_empty());
    assert_eq!(
        world.sandbox.access_log_len() - mark,
        5,
        "{:?}",
        world.sandbox.access_log_since(mark)
    );

    world
        .call(
            &world.admin,
            Method::POST,
            &format!("merge_requests/{number}/approve"),
            json!({}),
        )
        .await;
    let approvals = gitlab.approvals(number).await.unwrap();
    assert_eq!(approvals.len(), 1);
    assert_eq!(approvals[0].user.id, UserId(world.admin.id));

    assert!(
        gitlab
            .merged_since("main", an_hour_ago())
            .await
            .unwrap()
            .is_empty()
    );
    world
        .call(
            &world.admin,
            Method::PUT,
            &format!("merge_requests/{number}/merge"),
            json!({"sha": head}),
        )
        .await;
    let merged = gitlab.merged_since("main", an_hour_ago()).await.unwrap();
    assert_eq!(merged.len(), 1);
    assert_eq!(
        (merged[0].number, merged[0].state),
        (number, MergeRequestState::Merged)
    );
    let landed = merged[0].merge_commit.clone().unwrap();
    let of_commit = gitlab.merge_requests_of_commit(&landed).await.unwrap();
    assert_eq!(
        of_commit.iter().map(|found| found.number).collect::<Vec<_>>(),
        [number]
    );

    let page = world.project.web_url.clone();
    let link = gitlab.file_url(&landed, "requests/shop/orders.yaml", 1);
    assert_eq!(
        link,
        format!("{page}/-/blob/{landed}/requests/shop/orders.yaml#L1")
    );
}

#[tokio::test]
async fn people_pushes_and_the_project_are_read() {
    let world = World::begin().await;
    let (_, head) = world.merge_request().await;
    let gitlab = &world.gitlab;
    assert_eq!(gitlab.own_user().await.unwrap().id, UserId(world.bot.id));
    let project = gitlab.project().await.unwrap();
    assert_eq!(
        (project.path.as_str(), project.default_branch.as_deref()),
        ("acme/requests", Some("main"))
    );
    assert!(
        project.git_url.ends_with("/gitlab/acme/requests.git"),
        "{}",
        project.git_url
    );

    let developer = gitlab.member(UserId(world.developer.id)).await.unwrap().unwrap();
    assert_eq!(
        (developer.active, developer.level),
        (true, AccessLevel::Developer)
    );
    assert_eq!(
        gitlab
            .member(UserId(world.admin.id))
            .await
            .unwrap()
            .unwrap()
            .level,
        AccessLevel::Owner
    );
    assert_eq!(gitlab.member(UserId(999)).await.unwrap(), None);
    let acme = gitlab.group_at("acme").await.unwrap().unwrap();
    assert_eq!(gitlab.group(acme.id).await.unwrap(), Some(acme.clone()));
    let member = |id| gitlab.direct_member(acme.id, UserId(id));
    let owner = member(world.admin.id).await.unwrap().unwrap();
    assert_eq!((owner.active, owner.level), (true, AccessLevel::Owner));
    assert_eq!(member(world.developer.id).await.unwrap(), None);
    assert_eq!(gitlab.group_at("acme/nowhere").await.unwrap(), None);

    let pushes = gitlab.pushes_since(an_hour_ago()).await.unwrap();
    let developers: Vec<_> = pushes
        .iter()
        .filter(|push| push.user.id == UserId(world.developer.id))
        .collect();
    assert!(
        developers
            .iter()
            .any(|push| push.branch == "add-orders" && push.after.as_ref() == Some(&head))
    );
    let later = SystemClock
        .now()
        .checked_add(jiff::SignedDuration::from_hours(1))
        .unwrap();
    assert!(gitlab.pushes_since(later).await.unwrap().is_empty());
}

#[tokio::test]
async fn comments_statuses_and_issues_are_written() {
    let world = World::begin().await;
    let (number, head) = world.merge_request().await;
    let gitlab = &world.gitlab;
    let on = Thread::MergeRequest(number);

    let first = gitlab.create_note(on, "first & <last>").await.unwrap();
    assert_eq!(
        (first.author.id, first.created_at),
        (UserId(world.bot.id), first.updated_at)
    );
    let changed = gitlab.update_note(on, first.id, "second").await.unwrap();
    assert_eq!((changed.id, changed.body.as_str()), (first.id, "second"));
    for count in 0..101 {
        gitlab.create_note(on, &format!("note {count}")).await.unwrap();
    }
    let mark = world.sandbox.access_log_len();
    let notes = gitlab.notes(on).await.unwrap();
    assert_eq!(notes.iter().filter(|note| !note.system).count(), 102);
    assert!(notes.is_sorted_by_key(|note| (note.created_at, note.id)));
    assert_eq!(world.sandbox.access_log_len() - mark, 2);

    let mut status = CommitStatus {
        commit: head,
        branch: "add-orders".to_owned(),
        state: CommitState::Running,
        description: "é".repeat(300),
        target_url: Some("https://landfall.example.com/".to_owned()),
    };
    for state in [
        CommitState::Pending,
        CommitState::Running,
        CommitState::Running,
        CommitState::Success,
        CommitState::Failed,
    ] {
        status.state = state;
        gitlab.set_status(&status).await.unwrap();
    }

    let issue = NewIssue {
        title: "A push past review".to_owned(),
        body: format!("Look at this.\n{MARKER}"),
    };
    let opened = gitlab.create_issue(&issue).await.unwrap();
    assert_eq!(opened.author.id, UserId(world.bot.id));
    assert_eq!(
        gitlab.own_issues_with(MARKER).await.unwrap(),
        std::slice::from_ref(&opened)
    );
    let on = Thread::Issue(opened.number);
    let note = gitlab.create_note(on, "first").await.unwrap();
    gitlab.update_note(on, note.id, "second").await.unwrap();
    let notes = gitlab.notes(on).await.unwrap();
    assert_eq!(
        notes.iter().map(|note| note.body.as_str()).collect::<Vec<_>>(),
        ["second"]
    );
    for _ in 0..2 {
        gitlab.close_issue(opened.number).await.unwrap();
    }
    assert!(
        gitlab
            .own_issues_with("<!-- another -->")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn its_webhooks_prove_themselves_and_are_read() {
    let world = World::begin().await;
    let (arrived, mut deliveries) = mpsc::unbounded_channel::<(HeaderMap, Bytes)>();
    let receiver = Router::new().route(
        "/hook",
        post(move |headers: HeaderMap, body: Bytes| async move {
            arrived.send((headers, body)).unwrap();
        }),
    );
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url: url::Url = format!("http://{}/hook", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move { axum::serve(listener, receiver).await });

    let signing = NewHook {
        url: url.clone(),
        secret: Secret::new(SIGNING_TOKEN),
        signing: true,
    };
    let plain = NewHook {
        url: url.clone(),
        secret: Secret::new("a-plain-secret"),
        signing: false,
    };
    for hook in [&signing, &plain] {
        world.gitlab.create_hook(hook).await.unwrap();
    }
    assert_eq!(
        world
            .gitlab
            .hooks()
            .await
            .unwrap()
            .iter()
            .filter(|hook| hook.url == url.as_str())
            .count(),
        2
    );

    let (number, head) = world.merge_request().await;
    let on = Thread::MergeRequest(number);
    world.gitlab.create_note(on, "hello").await.unwrap();
    world
        .call(
            &world.admin,
            Method::POST,
            &format!("merge_requests/{number}/approve"),
            json!({}),
        )
        .await;
    world
        .call(
            &world.admin,
            Method::PUT,
            &format!("merge_requests/{number}/merge"),
            json!({"sha": head}),
        )
        .await;
    let issue = world
        .gitlab
        .create_issue(&NewIssue {
            title: "t".to_owned(),
            body: "b".to_owned(),
        })
        .await
        .unwrap();
    let path = format!("issues/{}/notes", issue.number);
    world
        .call(
            &world.admin,
            Method::POST,
            &path,
            json!({"body": "/landfall help"}),
        )
        .await;
    world.sandbox.delivered().await;

    let by_signature = WebhookSecrets::new(&[], &[Secret::new(SIGNING_TOKEN)]).unwrap();
    let by_token = WebhookSecrets::new(&[Secret::new("a-plain-secret")], &[]).unwrap();
    let now = SystemClock.now();
    let mut events = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    while let Ok((headers, body)) = deliveries.try_recv() {
        if headers.contains_key("webhook-signature") {
            assert_eq!(verify(&headers, &body, &by_signature, now), Ok(()));
        } else {
            assert_eq!(verify(&headers, &body, &by_token, now), Ok(()));
        }
        let delivery = parse(&headers, &body, world.project.id, now).unwrap();
        assert!(ids.insert(delivery.id.clone()), "{delivery:?}");
        events.push(delivery.event);
    }
    assert!(!events.contains(&Event::Unknown), "{events:?}");
    let twice = |wanted: &Event| events.iter().filter(|event| *event == wanted).count() == 2;
    let notes = events
        .iter()
        .filter(|event| matches!(event, Event::Note { number: n, .. } if *n == number));
    assert_eq!(notes.count(), 2, "{events:?}");
    assert!(twice(&Event::Merged { number }), "{events:?}");
    let (issue, author) = (issue.number, UserId(world.admin.id));
    assert!(twice(&Event::IssueNote { issue, author }), "{events:?}");
    assert!(events.contains(&Event::MergeRequest { number }), "{events:?}");
    let pushed = |name: &str, user: &User| {
        events.iter().any(|event| {
            matches!(event, Event::Push(push) if push.branch == name && push.user.id == UserId(user.id))
        })
    };
    assert!(
        pushed("add-orders", &world.developer) && pushed("main", &world.admin),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_sandbox_that_misbehaves_is_told_of_in_words() {
    let world = World::begin().await;
    let fault = |action| RequestFault {
        method: None,
        path_contains: "/user".to_owned(),
        by: None,
        after: 0,
        times: 1,
        action,
    };
    world
        .sandbox
        .order_request_fault(fault(RequestAction::Status(502)));
    let failed = world.gitlab.own_user().await;
    assert!(
        matches!(failed, Err(ForgeError::Unavailable { .. })),
        "{failed:?}"
    );

    let retry_after = Duration::from_secs(20);
    world
        .sandbox
        .order_request_fault(fault(RequestAction::RateLimited { retry_after }));
    let mark = world.sandbox.access_log_len();
    for _ in 0..2 {
        let limited = world.gitlab.own_user().await;
        assert!(
            matches!(limited, Err(ForgeError::RateLimited { .. })),
            "{limited:?}"
        );
    }
    assert_eq!(world.sandbox.access_log_len() - mark, 1);
    world.clock.advance(retry_after);
    world.gitlab.own_user().await.unwrap();

    let missing = world.gitlab.merge_request(MergeRequestNumber(99)).await;
    assert!(matches!(missing, Err(ForgeError::NotFound { .. })), "{missing:?}");
    world.sandbox.revoke_token(&world.bot.token).unwrap();
    let revoked = world.gitlab.own_user().await;
    assert!(
        matches!(revoked, Err(ForgeError::Forbidden { status: 401, .. })),
        "{revoked:?}"
    );
}
