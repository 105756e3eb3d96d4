//! What people read on a merge request when something goes wrong in AWS, and that what it says to do helps.

use landfall::catalog::{Catalog, Subject};
use landfall::domain::request::DeletionPolicy;

use super::*;
use crate::support::people::{DONE, HELD, MergeRequest, READY, WAITING};
use crate::support::way::Trouble;
use crate::support::world::{Settings, World as Forge};

const FILE: &str = "requests/web-team/shop.yaml";
const FAILED: &str = "❌ Failed";
const PLANNING: &str = "🔎 Planning";
const PROVISIONING: &str = "🚧 Provisioning";

/// Two storages, of which one keeps older versions or not.
fn shop(versioning: bool) -> String {
    format!(
        "apiVersion: landfall.dev/v1\nkind: Project\nmetadata:\n  name: shop\n  team: web-team\nspec:\n  \
         environment: dev\n  deletionPolicy: Delete\n  storage:\n    - name: pictures\n      tier: Hot\n      \
         redundancy: Zone\n      versioning: {versioning}\n    - name: receipts\n      tier: Hot\n      redundancy: Zone\n"
    )
}

/// A forge with its Landfall, and an AWS.
struct Story {
    forge: Forge,
    cloud: Peer,
    way: Way,
}

/// A text without what differs from one day to the next.
fn told(body: &str) -> String {
    let mut told = String::new();
    let body = without(body, "http://127.0.0.1:", |c| c.is_ascii_digit());
    let body = without(&body, "done after ", |c| c.is_ascii_digit());
    let body = without(&body, "(attempt ", |c| c.is_ascii_digit());
    let body = without(&body, "landfall-apply-", |c| c.is_ascii_hexdigit());
    let mut rest = body.as_str();
    while let Some(first) = rest.chars().next() {
        let is_hex = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
        let end = rest.find(|c: char| !is_hex(c) && c != '-').unwrap_or(rest.len());
        let run = &rest[..end];
        let of_a_name =
            told.ends_with(|c: char| c.is_alphanumeric()) || rest[end..].starts_with(char::is_alphabetic);
        if uuid::Uuid::parse_str(run).is_ok()
            || (!of_a_name && run.len() >= 8 && run.chars().any(|c| c.is_ascii_digit()) && !run.contains('-'))
        {
            told.push('…');
            rest = &rest[end..];
        } else {
            let next = first.len_utf8().max(if of_a_name { end } else { 0 });
            told.push_str(&rest[..next]);
            rest = &rest[next..];
        }
    }
    told
}

/// A text without what comes after those words.
fn without(body: &str, words: &str, differs: impl Fn(char) -> bool) -> String {
    let mut pieces = body.split(words);
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |told, piece| {
        format!("{told}{words}…{}", piece.trim_start_matches(&differs))
    })
}

impl Story {
    async fn begins() -> Self {
        let cloud = Peer::stand_in().await;
        let way = Way::to(cloud.url()).await;
        let settings = Settings {
            aws: Some(way.url().to_owned()),
            ..Settings::default()
        };
        let forge = Forge::with(settings).await;
        Self { forge, cloud, way }
    }

    async fn asks(&self, branch: &str, content: &str) -> MergeRequest<'_> {
        self.forge.dana().opens(branch, &[(FILE, Some(content))]).await
    }

    fn scope(&self) -> Scope {
        Scope {
            repository: "requests".parse().unwrap(),
            request: "Project/shop".parse().unwrap(),
            team: "web-team".parse().unwrap(),
            environment_name: "dev".parse().unwrap(),
            environment: environment(),
        }
    }

    fn stack_of(&self, storage: &str) -> String {
        let name = format!("storage/{storage}").parse().unwrap();
        stack_name(&self.scope(), &name, ResourceKind::Storage)
    }

    /// The name that a storage's bucket is going to have.
    fn bucket_of(&self, storage: &str) -> String {
        let scope = self.scope();
        let subject = Subject {
            repository: &scope.repository,
            request: &scope.request,
            team: &scope.team,
            environment_name: &scope.environment_name,
            environment: &scope.environment,
            deletion_policy: DeletionPolicy::Delete,
        };
        let resource = Resource {
            name: format!("storage/{storage}").parse().unwrap(),
            kind: ResourceKind::Storage,
            properties: serde_json::from_value(
                json!({ "tier": "Hot", "redundancy": "Zone", "versioning": false }),
            )
            .unwrap(),
            depends_on: vec![],
        };
        let module = Catalog::builtin()
            .module(&resource, &subject, None)
            .unwrap()
            .unwrap();
        match &module.parameters["BucketName"] {
            Parameter::Value(name) => name.clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn asked(&self, service: &str, operation: &str, arguments: Value) -> Value {
        let answers = self.cloud.asked(json!([[service, operation, arguments]])).await;
        assert!(answers[0]["error"].is_null(), "{operation}: {answers:?}");
        answers[0].clone()
    }

    async fn stack(&self, name: &str) -> Value {
        let seen = json!([["cloudformation", "describe_stacks", {"StackName": name}]]);
        self.cloud.asked(seen).await[0]["Stacks"][0].clone()
    }

    async fn until(&self, stack: &str, status: &Value) {
        let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
        while self.stack(stack).await["StackStatus"] != *status {
            assert!(SystemClock.now() < give_up, "{stack} does not become {status}");
        }
    }

    async fn deletes(&self, stack: &str) {
        let off = json!({"StackName": stack, "EnableTerminationProtection": false});
        self.asked("cloudformation", "update_termination_protection", off)
            .await;
        self.asked("cloudformation", "delete_stack", json!({"StackName": stack}))
            .await;
        self.until(stack, &Value::Null).await;
    }

    /// Somebody makes a stack of that name at the console.
    async fn has_a_foreign_stack(&self, name: &str, tags: Value) {
        let template = json!({ "Resources": { "Topic": { "Type": "AWS::SNS::Topic" } } });
        let stack = json!({"StackName": name, "TemplateBody": template.to_string(), "Tags": tags});
        self.asked("cloudformation", "create_stack", stack).await;
        self.until(name, &json!("CREATE_COMPLETE")).await;
    }

    /// The stacks of the shop, each with how often its bucket was made.
    async fn made(&self) -> Vec<(String, usize)> {
        let mut made = Vec::new();
        for storage in ["pictures", "receipts"] {
            let stack = json!({"StackName": self.stack_of(storage)});
            let events = self.asked("cloudformation", "describe_stack_events", stack).await;
            let events = events["StackEvents"].as_array().unwrap().iter();
            let made_it = |event: &&Value| {
                event["LogicalResourceId"] == "Bucket" && event["ResourceStatus"] == "CREATE_COMPLETE"
            };
            made.push((storage.to_owned(), events.filter(made_it).count()));
        }
        made
    }

    /// Time passes until the merge request shows that.
    async fn comes_to(&self, merge_request: &MergeRequest<'_>, verdict: &str) -> String {
        let look = async {
            loop {
                let report = merge_request.written("report").await.pop();
                if let Some(report) = report.filter(|report| report.body.contains(verdict)) {
                    return report.body;
                }
                self.forge.lets_time_pass().await;
                let next = SystemClock.now().checked_add(LOOK_EVERY).unwrap();
                SystemClock.sleep_until(next).await;
            }
        };
        self.forge
            .patiently(&format!("the comment to show {verdict}"), look)
            .await
    }
}

fn both_once() -> Vec<(String, usize)> {
    vec![("pictures".to_owned(), 1), ("receipts".to_owned(), 1)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_fails_names_what_failed_and_a_retry_makes_it() {
    let story = Story::begins().await;
    let taken = story.bucket_of("receipts");
    let place = json!({"Bucket": taken, "CreateBucketConfiguration": {"LocationConstraint": REGION}});
    story.asked("s3", "create_bucket", place).await;
    let shop = story.asks("shop", &shop(false)).await;
    shop.lands().await;
    let comment = shop.shows(FAILED, &["storage/receipts"]).await;
    insta::assert_snapshot!("failed", told(&comment));
    insta::assert_snapshot!("failed_result", told(&shop.result().await));
    assert!(story.stack(&story.stack_of("receipts")).await.is_null());
    let pictures = story.stack(&story.stack_of("pictures")).await["StackId"].clone();

    story.asked("s3", "delete_bucket", json!({"Bucket": taken})).await;
    story.forge.dana().comments(&shop, "/landfall retry").await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(story.made().await, both_once());
    assert_eq!(
        story.stack(&story.stack_of("pictures")).await["StackId"],
        pictures
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_of_somebody_else_is_in_the_way_until_it_is_gone() {
    let story = Story::begins().await;
    let stack = story.stack_of("receipts");
    let tags = json!([
        {"Key": "landfall:repository", "Value": "another"}, {"Key": "landfall:environment", "Value": "dev"},
        {"Key": "landfall:request", "Value": "Project/shop"}, {"Key": "landfall:team", "Value": "web-team"},
        {"Key": "landfall:resource", "Value": "storage/receipts"},
    ]);
    story.has_a_foreign_stack(&stack, tags).await;
    let shop = story.asks("shop", &shop(false)).await;
    let comment = shop.shows(PLANNING, &["of repository another"]).await;
    insta::assert_snapshot!("foreign_in_review", told(&comment));
    story.deletes(&stack).await;
    story.forge.dana().comments(&shop, "/landfall plan").await;
    shop.is_signed_off().await;

    // Another comes after the sign-off.
    story.has_a_foreign_stack(&stack, json!([])).await;
    story.forge.ada().merges(&shop).await;
    let comment = shop.shows(HELD, &["was not made by Landfall"]).await;
    insta::assert_snapshot!("foreign_at_landing", told(&comment));
    assert!(
        story.stack(&story.stack_of("pictures")).await.is_null(),
        "nothing was begun"
    );
    story.deletes(&stack).await;
    story.forge.dana().comments(&shop, "/landfall retry").await;
    shop.shows(DONE, &["Nothing to do"]).await;
    assert_eq!(story.made().await, both_once());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_deleted_is_said_and_made_again_when_that_is_signed() {
    let story = Story::begins().await;
    let first = story.asks("shop", &shop(false)).await;
    first.is_done().await;
    let change = story.asks("versions", &shop(true)).await;
    change.is_signed_off().await;
    story.deletes(&story.stack_of("pictures")).await;
    story.forge.ada().merges(&change).await;
    let comment = change.shows(HELD, &["storage/pictures"]).await;
    insta::assert_snapshot!("deleted_after_the_sign_off", told(&comment));
    assert!(story.stack(&story.stack_of("pictures")).await.is_null());

    // As the comment says, by a merge request of its own.
    let again = shop(true) + "# The pictures were deleted.\n";
    let again = story.asks("again", &again).await;
    let comment = again.shows(WAITING, &["storage/pictures"]).await;
    insta::assert_snapshot!("deleted_and_planned_anew", told(&comment));
    again.is_done().await;
    assert_eq!(
        story.stack(&story.stack_of("pictures")).await["StackStatus"],
        "CREATE_COMPLETE"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_changed_by_hand_is_not_overwritten_unsigned() {
    let story = Story::begins().await;
    let first = story.asks("shop", &shop(false)).await;
    first.is_done().await;
    let change = story.asks("versions", &shop(true)).await;
    change.is_signed_off().await;
    let stack = story.stack_of("pictures");
    let before = story
        .asked("cloudformation", "get_template", json!({"StackName": stack}))
        .await["TemplateBody"]
        .clone();
    let mut more = before.clone();
    more["Resources"]["Topic"] = json!({ "Type": "AWS::SNS::Topic" });
    let parameters = story.stack(&stack).await["Parameters"].clone();
    let by_hand = |template: &Value| {
        json!({
            "StackName": stack, "TemplateBody": template.to_string(), "Parameters": parameters,
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
        })
    };
    story
        .asked("cloudformation", "update_stack", by_hand(&more))
        .await;
    story.until(&stack, &json!("UPDATE_COMPLETE")).await;
    story.forge.ada().merges(&change).await;
    let comment = change.shows(HELD, &["storage/pictures"]).await;
    insta::assert_snapshot!("changed_by_hand", told(&comment));
    let there = story
        .asked(
            "cloudformation",
            "list_stack_resources",
            json!({"StackName": stack}),
        )
        .await;
    assert!(there.to_string().contains("AWS::SNS::Topic"), "{there}");

    // Somebody takes it back, and says so.
    story
        .asked("cloudformation", "update_stack", by_hand(&before))
        .await;
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    let resources = || {
        story.asked(
            "cloudformation",
            "list_stack_resources",
            json!({"StackName": stack}),
        )
    };
    while resources().await.to_string().contains("\"UPDATE_IN_PROGRESS\"")
        || story.stack(&stack).await["StackStatus"] != "UPDATE_COMPLETE"
    {
        assert!(SystemClock.now() < give_up);
    }
    story.forge.dana().comments(&change, "/landfall retry").await;
    change.shows(DONE, &["Nothing to do"]).await;
    let bucket = json!({"Bucket": story.bucket_of("pictures")});
    assert_eq!(
        story.asked("s3", "get_bucket_versioning", bucket).await["Status"],
        "Enabled"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_expires_half_way_is_taken_on_anew() {
    let story = Story::begins().await;
    let shop = story.asks("shop", &shop(false)).await;
    shop.is_signed_off().await;
    let expired = Trouble::Refused(
        403,
        "ExpiredToken",
        "The security token included in the request is expired",
    );
    story.way.order_of("cloudformation:ExecuteChangeSet", 2, expired);
    story.forge.ada().merges(&shop).await;
    story.comes_to(&shop, DONE).await;
    assert_eq!(story.way.fired().len(), 2);
    assert_eq!(story.made().await, both_once());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_of_its_own_landfall_says_so_and_goes_on_when_it_has_some() {
    let mut story = Story::begins().await;
    let number = {
        let shop = story.asks("shop", &shop(false)).await;
        shop.is_signed_off().await;
        shop.number
    };
    let invalid = Trouble::Refused(
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    );
    // Another process, which has taken on no role yet.
    story.forge.stop_landfall().await;
    story.way.order_of("sts:AssumeRole", usize::MAX, invalid);
    story.forge.start_landfall().await;
    let shop = story.forge.merge_request(number);
    story.forge.ada().merges(&shop).await;
    let comment = shop.shows(HELD, &["InvalidClientTokenId"]).await;
    insta::assert_snapshot!("without_credentials", told(&comment));
    let other = story.forge.dana();
    let other = other
        .opens("web", &[("requests/web-team/web.yaml", Some(&shop_named("web")))])
        .await;
    let comment = other.shows(PLANNING, &["InvalidClientTokenId"]).await;
    insta::assert_snapshot!("without_credentials_in_review", told(&comment));
    story.way.clear();
    story.forge.dana().comments(&shop, "/landfall retry").await;
    story.comes_to(&shop, DONE).await;
    story.forge.dana().comments(&other, "/landfall plan").await;
    other.shows(WAITING, &["press **Approve**"]).await;
    assert_eq!(story.made().await, both_once());
}

fn shop_named(name: &str) -> String {
    shop(false).replace("name: shop", &format!("name: {name}"))
}

/// Those of Landfall itself end while a stack is being made: what it is at goes on in AWS, and is found again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_end_while_a_stack_is_made_lose_nothing() {
    let mut story = Story::begins().await;
    let number = {
        let shop = story.asks("shop", &shop(false)).await;
        shop.is_signed_off().await;
        shop.number
    };
    // Each step has begun, and no answer to its second call ever comes.
    story
        .way
        .order_of("cloudformation:DescribeChangeSet", usize::MAX, Trouble::BrokenOff);
    let shop = story.forge.merge_request(number);
    story.forge.ada().merges(&shop).await;
    shop.shows(PROVISIONING, &[]).await;
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    while story.way.fired().is_empty() {
        assert!(SystemClock.now() < give_up);
        let next = SystemClock.now().checked_add(LOOK_EVERY).unwrap();
        SystemClock.sleep_until(next).await;
    }
    story.forge.stop_landfall().await;
    let expired = Trouble::Refused(
        403,
        "ExpiredToken",
        "The security token included in the request is expired",
    );
    story.way.order_of("sts:AssumeRole", usize::MAX, expired);
    story.forge.start_landfall().await;
    let shop = story.forge.merge_request(number);
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    while story.way.fired().len() < 3 {
        assert!(SystemClock.now() < give_up);
        story.forge.lets_time_pass().await;
    }
    let comment = shop.shows(PROVISIONING, &[]).await;
    insta::assert_snapshot!("expired_while_it_is_made", told(&comment));
    // They come back, and it goes on by itself.
    story.way.clear();
    story.comes_to(&shop, DONE).await;
    assert_eq!(story.made().await, both_once());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_for_long_nothing_is_lost() {
    let story = Story::begins().await;
    let shop = story.asks("shop", &shop(false)).await;
    shop.shows(WAITING, &["press **Approve**"]).await;
    story.forge.ada().approves(&shop).await;
    shop.shows(READY, &["merge it now"]).await;
    story
        .way
        .order_of("cloudformation:CreateChangeSet", usize::MAX, Trouble::Throttled);
    story.forge.ada().merges(&shop).await;
    // They are tried in turn, so which of them waits just then is not said.
    let words = "is tried again by itself, after the cloud asked us to slow down";
    let comment = shop.shows(PROVISIONING, &[words]).await;
    let line = comment.lines().find(|line| line.contains(words)).unwrap();
    assert!(line.contains(": Rate exceeded (Throttling)"), "{line}");
    story.way.clear();
    story.comes_to(&shop, DONE).await;
    assert_eq!(story.made().await, both_once());
}
