//! Every call of AWS fails in turn: refused because of too many, broken off before it did anything and after, never
//! answered, and with it the process that made it. Which calls there are, a quiet pass writes down. Each case is lived in
//! an account of its own, all at the same time: the SDK slows down an account that throttles, and only that one.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use landfall::domain::plan::Plan;
use landfall::provider::aws::AwsPlanner;
use landfall::provider::{Answer, Planner, Question};

use super::guarded::{anybody, given_network};
use super::planning::{known, parts, question, remembered, storage, wanted};
use super::*;
use crate::support::way::Trouble;

/// Something that is slow on purpose ends within this.
const ENDS_AT_LAST: Duration = Duration::from_secs(150);
/// Seldom, so that a stack that takes a second is not hundreds of calls.
const LOOK_SELDOM: Duration = Duration::from_millis(200);
/// Whoever ordered it finds out, and then it is over.
const UNTIL_NOTICED: usize = usize::MAX;
/// So many calls of a name fail in turn in one flow, and the last.
const MOST_ALIKE: usize = 3;
/// What somebody who tries again is told of a call that did not come through.
const PASSES: &[FailureClass] = &[FailureClass::Transient, FailureClass::Conflict];

/// What is done, from its beginning to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// A storage, protected against deletion.
    Makes,
    /// The same one, changed.
    Changes,
    /// A database that is protected, with a last snapshot.
    Destroys,
    /// A creation that AWS cannot finish.
    Fails,
    /// A creation that does more than was signed.
    Exceeds,
    /// A plan of everything: something new with an image and a network, something that changes, something that goes.
    Plans,
}

use Flow::{Changes, Destroys, Exceeds, Fails, Makes, Plans};

/// How it ended, and what was told on the way.
struct End {
    progress: Result<Progress, Failure>,
    plan: Option<Plan>,
    noticed: Vec<FailureClass>,
}

/// One account in which a flow is lived.
struct Lane {
    flow: Flow,
    /// The call that fares badly, and how many of its name come before it.
    call: (String, usize),
    account: String,
    world: World,
    order: Order,
    question: Question,
}

fn database() -> Value {
    json!({ "Resources": { "Database": {
        "Type": "AWS::RDS::DBInstance",
        "DeletionPolicy": "Snapshot",
        "Properties": {
            "DBInstanceIdentifier": "orders", "Engine": "postgres", "EngineVersion": "17.6",
            "DBInstanceClass": "db.t4g.micro", "AllocatedStorage": "20",
            "MasterUsername": "appadmin", "MasterUserPassword": "a-password-of-a-test",
        },
    } } })
}

/// Goes into the environment's network, and is made from an image.
fn machine() -> Value {
    json!({
        "Metadata": remembered(&json!({ "image": "Ubuntu2404" })),
        "Parameters": {
            "ImageId": { "Type": "String" }, "VpcId": { "Type": "String" }, "SubnetIds": { "Type": "CommaDelimitedList" },
        },
        "Resources": { "Handle": { "Type": "AWS::CloudFormation::WaitConditionHandle" } },
    })
}

impl Lane {
    async fn new(cloud: &Arc<Peer>, flow: Flow, call: (String, usize), account: String) -> Self {
        let mut world = World::in_account(cloud, &account).await;
        if flow == Plans {
            world.environment.network = Some(given_network(cloud, &anybody(&account)).await);
        }
        let name = format!("receipts-{account}");
        let (plain, changed) = (
            bucket(&name, "Suspended", "Delete"),
            bucket(&name, "Enabled", "Delete"),
        );
        let mut more = plain.clone();
        more["Resources"]["Topic"] = json!({ "Type": "AWS::SNS::Topic" });
        let order = |action, resource, template: &Value| world.order(9, action, resource, template);
        let mut order = match flow {
            Makes | Plans => order(Action::Create, "storage/receipts", &plain),
            Changes => update(order(Action::Update, "storage/receipts", &changed), versioned()),
            Destroys => order(Action::Delete, "database/orders", &json!({})),
            Fails => order(Action::Create, "storage/receipts", &never_ready(plain.clone(), 1)),
            Exceeds => update(order(Action::Create, "storage/receipts", &more), all_new(&plain)),
        };
        order.protected = true;
        order.final_snapshot = flow == Destroys;
        let mut question = question(&world);
        if flow == Plans {
            let ask = wanted(question, &world, "storage/receipts", &storage(&name, true));
            let ask = wanted(ask, &world, "virtual-machine/web", &machine());
            question = known(ask, "storage/receipts", ResourceKind::Storage);
            question = known(question, "storage/old", ResourceKind::Storage);
            let module = question
                .modules
                .get_mut(&"virtual-machine/web".parse().unwrap())
                .unwrap();
            module.parameters = BTreeMap::from([
                ("ImageId".into(), Parameter::Image("/images/ubuntu".into())),
                ("VpcId".into(), Parameter::Network),
                ("SubnetIds".into(), Parameter::PrivateSubnets),
            ]);
        }
        let lane = Self {
            flow,
            call,
            account,
            world,
            order,
            question,
        };
        lane.has_what_was_there_before().await;
        lane
    }

    async fn has_what_was_there_before(&self) {
        let name = format!("receipts-{}", self.account);
        let make = async |resource: &str, template: &Value| {
            let mut order = self.world.order(1, Action::Create, resource, template);
            order.protected = true;
            succeeded(self.world.done(&order).await);
        };
        match self.flow {
            Makes | Fails | Exceeds => {}
            Changes => make("storage/receipts", &bucket(&name, "Suspended", "Delete")).await,
            Destroys => make("database/orders", &database()).await,
            Plans => {
                make("storage/receipts", &storage(&name, false)).await;
                let old = json!({ "Resources": { "Topic": { "Type": "AWS::SNS::Topic" } } });
                make("storage/old", &old).await;
            }
        }
    }

    async fn lived(&self, trouble: Option<(usize, Trouble)>) -> End {
        let way = self.world.way();
        if let Some((times, trouble)) = trouble {
            way.order(&self.call.0, self.call.1, times, trouble);
        }
        let end = match self.flow {
            Plans => self.planned().await,
            _ => self.carried_out().await,
        };
        way.clear();
        end
    }

    /// As a run does it: again after each failure that may pass, by the token that is on record, in whatever process.
    async fn carried_out(&self) -> End {
        let (world, order) = (&self.world, &self.order);
        let mut provider = world.restarted();
        let mut token: Option<Token> = None;
        let mut noticed = Vec::new();
        let give_up = SystemClock.now().checked_add(ENDS_AT_LAST).unwrap();
        loop {
            assert!(
                SystemClock.now() < give_up,
                "{:?} {:?} does not end",
                self.flow,
                self.call
            );
            let asked = async {
                match (&token, order.action) {
                    (Some(token), _) => world.looked(&provider, token).await,
                    (None, Action::Delete) => provider.destroy(order).await,
                    (None, _) => provider.start(order).await,
                }
            };
            let progress = tokio::select! {
                progress = asked => progress,
                () = world.way().death() => {
                    provider = world.restarted();
                    continue;
                }
            };
            self.trouble_is_noticed();
            match progress {
                Progress::Waiting { token: next, .. } => {
                    token = Some(next);
                    looks_seldom().await;
                }
                Progress::Failed(failure) if failure.class.may_pass() => {
                    noticed.push(failure.class);
                    token = None;
                }
                end => {
                    return End {
                        progress: Ok(end),
                        plan: None,
                        noticed,
                    };
                }
            }
        }
    }

    /// As a review does it.
    async fn planned(&self) -> End {
        let planner = || -> AwsPlanner { aws(self.world.endpoint(), &self.world.time).planner() };
        let (mut now, mut question) = (planner(), self.question.clone());
        let mut noticed = Vec::new();
        let give_up = SystemClock.now().checked_add(ENDS_AT_LAST).unwrap();
        loop {
            assert!(SystemClock.now() < give_up, "plan {:?} does not end", self.call);
            let answer = tokio::select! {
                answer = now.plan(&question) => answer,
                () = self.world.way().death() => {
                    now = planner();
                    continue;
                }
            };
            self.trouble_is_noticed();
            match answer {
                Ok(Answer::Ready(plan)) => {
                    return End {
                        progress: Err(Failure::new(FailureClass::Internal, "a plan is no progress")),
                        plan: Some(plan),
                        noticed,
                    };
                }
                Ok(Answer::Pending { token, .. }) => {
                    question.pending = Some(token);
                    looks_seldom().await;
                }
                Err(failure) if failure.class.may_pass() => noticed.push(failure.class),
                Err(failure) => {
                    return End {
                        progress: Err(failure),
                        plan: None,
                        noticed,
                    };
                }
            }
        }
    }

    fn trouble_is_noticed(&self) {
        if !self.world.way().fired().is_empty() {
            self.world.way().clear();
        }
    }

    /// What boto3 is asked in the end.
    fn questions(&self) -> Vec<Value> {
        let stack = self.world.name(&self.order);
        let ask = |service: &str, operation: &str, arguments: Value| {
            json!([service, operation, arguments, self.account])
        };
        vec![
            ask("cloudformation", "describe_stacks", json!({})),
            ask(
                "cloudformation",
                "list_change_sets",
                json!({ "StackName": stack }),
            ),
            ask(
                "cloudformation",
                "describe_stack_events",
                json!({ "StackName": stack }),
            ),
            ask("s3", "list_buckets", json!({})),
            ask("rds", "describe_db_snapshots", json!({})),
        ]
    }

    /// What is wrong with the end.
    fn wrong(&self, end: &End, seen: &[Value]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |what: &str, is: Value, shall_be: Value| {
            if is != shall_be {
                wrong.push(format!("{what}: {is}, not {shall_be}"));
            }
        };
        let progress = match &end.progress {
            Ok(Progress::Succeeded { .. }) => json!("succeeded"),
            Ok(Progress::Failed(failure)) => json!(failure.reason),
            Ok(Progress::Waiting { .. }) => json!("waiting"),
            Err(failure) => json!(failure.reason),
        };
        let own = self.world.name(&self.order);
        let stacks: Vec<Value> = seen[0]["Stacks"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|stack| stack["StackName"] == own.as_str())
            .map(|stack| json!([stack["StackStatus"], stack["EnableTerminationProtection"]]))
            .collect();
        let open: Vec<&Value> = (seen[1]["Summaries"].as_array().into_iter().flatten())
            .filter(|set| set["ExecutionStatus"] == "AVAILABLE")
            .collect();
        let bucket: Vec<&str> = (seen[2]["StackEvents"].as_array().into_iter().flatten())
            .filter(|event| event["LogicalResourceId"] == "Bucket")
            .map(|event| event["ResourceStatus"].as_str().unwrap())
            .collect();
        let buckets = seen[3]["Buckets"].as_array().unwrap().len();
        expect("open change sets", json!(open), json!([]));
        let created = ["CREATE_COMPLETE", "CREATE_IN_PROGRESS"];
        match self.flow {
            Makes => {
                expect("end", progress, json!("succeeded"));
                expect("stacks", json!(stacks), json!([["CREATE_COMPLETE", true]]));
                expect("bucket", json!(bucket), json!(created));
            }
            Changes => {
                expect("end", progress, json!("succeeded"));
                expect("stacks", json!(stacks), json!([["UPDATE_COMPLETE", true]]));
                let updated = ["UPDATE_COMPLETE", "UPDATE_IN_PROGRESS"];
                expect("bucket", json!(bucket), json!([updated, created].concat()));
            }
            Destroys => {
                expect("end", progress, json!("succeeded"));
                expect("stacks", json!(stacks), json!([]));
                let snapshots = seen[4]["DBSnapshots"].as_array().unwrap().len();
                expect("snapshots", json!(snapshots), json!(1));
            }
            Fails | Exceeds => {
                let because = if self.flow == Fails {
                    "Ready (AWS::CloudFormation::WaitCondition): "
                } else {
                    "the plan now does more than was signed off: create Topic"
                };
                let end = progress.as_str().unwrap().get(..because.len());
                expect("end", json!(end), json!(because));
                expect("stacks", json!(stacks), json!([]));
                expect("buckets", json!(buckets), json!(0));
            }
            Plans => {
                let plan = end.plan.as_ref().map(|plan| plan.changes.iter());
                let changes: Vec<Value> = plan
                    .into_iter()
                    .flatten()
                    .map(|change| json!([change.resource, change.action, parts(change).len()]))
                    .collect();
                let shall_be = json!([
                    ["storage/old", "delete", 1],
                    ["storage/receipts", "update", 1],
                    ["virtual-machine/web", "create", 1],
                ]);
                expect("plan", json!(changes), shall_be);
                expect("stacks", json!(stacks), json!([["CREATE_COMPLETE", true]]));
                expect("bucket", json!(bucket), json!(created));
            }
        }
        wrong
    }
}

async fn looks_seldom() {
    let next = SystemClock.now().checked_add(LOOK_SELDOM).unwrap();
    SystemClock.sleep_until(next).await;
}

/// Accounts, none of which is anybody else's.
fn account(number: usize) -> String {
    format!("{}", 100_000_000_000 + number)
}

async fn publishes_images(cloud: &Peer, lanes: usize) {
    let parameter = json!({"Name": "/images/ubuntu", "Value": "ami-0aaaaaaaaaaaaaaa1", "Type": "String"});
    let calls: Vec<Value> = (0..lanes)
        .map(|lane| json!(["ssm", "put_parameter", parameter, account(lane)]))
        .collect();
    cloud.asked(json!(calls)).await;
}

/// Lives all of them at once, and tells what is wrong with their ends.
async fn lived(cloud: &Peer, lanes: &[Lane], trouble: Option<(usize, Trouble)>) -> Vec<(End, Vec<String>)> {
    let ends = join_all(lanes.iter().map(|lane| lane.lived(trouble))).await;
    let questions: Vec<Vec<Value>> = lanes.iter().map(Lane::questions).collect();
    let seen = cloud.asked(json!(questions.concat())).await;
    let seen = seen.chunks(questions[0].len());
    let told = lanes.iter().zip(ends).zip(seen);
    told.map(|((lane, end), seen)| {
        let wrong = lane.wrong(&end, seen);
        (end, wrong)
    })
    .collect()
}

#[rstest::rstest]
#[case::throttled_and_the_sdk_tries_again(Trouble::Throttled, 2, &[FailureClass::Throttled])]
// What was half undone when AWS refused is begun once more: a conflict with itself.
#[case::throttled_until_it_is_told(
    Trouble::Throttled,
    UNTIL_NOTICED,
    &[FailureClass::Throttled, FailureClass::Conflict],
)]
#[case::broken_off_until_it_is_told(Trouble::BrokenOff, UNTIL_NOTICED, PASSES)]
#[case::an_answer_is_lost(Trouble::AnswerLost, 1, PASSES)]
#[case::an_answer_never_comes(Trouble::NoAnswer, 1, PASSES)]
#[case::the_process_dies_with_it(Trouble::Death, 1, PASSES)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_aws_may_fail(
    #[case] trouble: Trouble,
    #[case] times: usize,
    #[case] told: &[FailureClass],
) {
    let cloud = Arc::new(Peer::stand_in().await);
    let flows = [Makes, Changes, Destroys, Fails, Exceeds, Plans];
    publishes_images(&cloud, 300).await;
    let quiet = flows.iter().zip(0..);
    let quiet =
        join_all(quiet.map(|(flow, lane)| Lane::new(&cloud, *flow, Default::default(), account(lane)))).await;
    let ends = lived(&cloud, &quiet, None).await;
    let wrong: Vec<&Vec<String>> = ends
        .iter()
        .map(|(_, wrong)| wrong)
        .filter(|wrong| !wrong.is_empty())
        .collect();
    assert!(wrong.is_empty(), "without any trouble: {wrong:#?}");

    let mut next = flows.len();
    let mut cases = Vec::new();
    let mut kinds = BTreeSet::new();
    for lane in &quiet {
        let calls = lane.world.way().calls_since(0);
        for (number, call) in calls.iter().enumerate() {
            // Looks that are all alike, while nothing happens.
            let (before, after) = (&calls[..number], &calls[number + 1..]);
            let alike = before.iter().filter(|other| *other == call).count();
            if alike >= MOST_ALIKE && after.contains(call) {
                continue;
            }
            // A role is taken on in the same way whatever for, and the SDK slows that down for all accounts together.
            if call.starts_with("sts:") && !matches!(lane.flow, Makes | Plans) {
                continue;
            }
            kinds.insert((format!("{:?}", lane.flow), call.clone()));
            cases.push(Lane::new(&cloud, lane.flow, (call.clone(), alike), account(next)));
            next += 1;
        }
    }
    assert!(next <= 300, "{next} accounts: publish images for all of them");
    let lanes = join_all(cases).await;
    let mut all_wrong = Vec::new();
    for (lane, (end, mut wrong)) in lanes
        .iter()
        .zip(lived(&cloud, &lanes, Some((times, trouble))).await)
    {
        let fired = lane.world.way().fired();
        let hit = fired
            .iter()
            .map(|call| (format!("{:?}", lane.flow), call.clone()));
        hit.for_each(|hit| {
            kinds.remove(&hit);
        });
        if end.noticed.iter().any(|class| !told.contains(class)) {
            wrong.push(format!("told as {:?}", end.noticed));
        }
        if !wrong.is_empty() {
            all_wrong.push(format!("{:?}, {:?} {fired:?}: {wrong:?}", lane.flow, lane.call));
        }
    }
    println!(
        "{} accounts, in each of which one call was {trouble:?}",
        lanes.len()
    );
    assert!(all_wrong.is_empty(), "{all_wrong:#?}");
    assert!(kinds.is_empty(), "never failed: {kinds:?}");
}
