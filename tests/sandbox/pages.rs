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
