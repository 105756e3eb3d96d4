//! A cluster is done when somebody can work with it, or when what was not seen is said.

use crate::cluster::authority;
use crate::cluster::readiness::{ApiServer, nodes, well};

use super::*;

const NAME: &str = "web-shop-0a1b";

/// The order of a cluster with two pools, of at least three nodes together.
fn order(world: &World, access: &str, template: &Value) -> Order {
    let mut order = world.order(1, Action::Create, "cluster/shop", template);
    let properties = json!({
        "nodePools": { "workers": { "min": 2, "max": 4 }, "batch": { "min": 1, "max": 9 } },
        "apiServer": { "access": access, "allowedCidrs": [] },
    });
    order.resource.properties = serde_json::from_value(properties).unwrap();
    order
}

/// A stack that says that its cluster is there.
fn stack_of(endpoint: &str, authority: &str) -> Value {
    json!({
        "Resources": { "Handle": { "Type": "AWS::CloudFormation::WaitConditionHandle" } },
        "Outputs": {
            "clusterName": { "Value": NAME },
            "version": { "Value": "1.33" },
            "endpoint": { "Value": endpoint },
            "certificateAuthority": { "Value": authority },
        },
    })
}

fn command() -> String {
    format!("aws eks update-kubeconfig --name {NAME} --region {REGION}")
}

/// Asks until the cluster itself is waited for.
async fn until_settling(world: &World, order: &Order) -> (Token, String) {
    let mut progress = world.provider.start(order).await;
    let give_up = SystemClock.now().checked_add(ENDS_WITHIN).unwrap();
    loop {
        match progress {
            Progress::Waiting { token, message, .. } if token.0.contains("settling") => {
                return (token, message);
            }
            progress_now => progress = world.looked(&world.provider, &waits(&progress_now)).await,
        }
        assert!(SystemClock.now() < give_up, "the stack does not get complete");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_an_authority_is_done_and_not_called_ready() {
    let world = World::new().await;
    let template = json!({
        "Resources": { "Cluster": { "Type": "AWS::EKS::Cluster", "Properties": {
            "Name": NAME,
            "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/eks"),
            "ResourcesVpcConfig": { "SubnetIds": ["subnet-1", "subnet-2"] },
        } } },
        "Outputs": {
            "clusterName": { "Value": { "Ref": "Cluster" } },
            "endpoint": { "Value": { "Fn::GetAtt": ["Cluster", "Endpoint"] } },
            "certificateAuthority": { "Value": { "Fn::GetAtt": ["Cluster", "CertificateAuthorityData"] } },
        },
    });
    let create = order(&world, "Public", &template);
    let (id, outputs) = succeeded(world.done(&create).await);
    assert_eq!(world.stack(&world.name(&create)).await["StackId"], json!(id));
    assert_eq!(outputs["clusterName"], NAME);
    assert_eq!(outputs["kubeconfig"], command());
    let note = &outputs["notChecked"];
    assert!(
        note.contains("was not checked") && note.contains("certificate authority"),
        "{note}"
    );
    let told = format!("{outputs:?} {:?}", world.said.lock().unwrap());
    assert!(!told.contains("k8s-aws-v1"), "{told}");

    let mut delete = world.order(2, Action::Delete, "cluster/shop", &json!({}));
    delete.resource.properties = BTreeMap::new();
    succeeded(world.done(&delete).await);
    assert_eq!(world.left().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_waited_for_in_words_until_it_is_ready() {
    let world = World::new().await;
    let is_ready = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&is_ready);
    let server = ApiServer::start(move |path| match path.starts_with("/api/v1/nodes") {
        true if !*seen.lock().unwrap() => nodes(&["True", "False", "True"], ""),
        _ => well(path),
    })
    .await;
    let create = order(
        &world,
        "Public",
        &stack_of(&server.endpoint, &authority("authority.pem")),
    );
    let (token, message) = until_settling(&world, &create).await;
    assert!(message.ends_with("2 of 3 nodes are ready"), "{message}");

    // Asked again, by another process, and with an answer that was lost.
    for provider in [&world.provider, &world.restarted()] {
        assert_eq!(waits(&world.looked(provider, &token).await), token);
    }
    waits(&world.restarted().start(&create).await);

    *is_ready.lock().unwrap() = true;
    for provider in [&world.provider, &world.restarted()] {
        let (_, outputs) = succeeded(world.looked(provider, &token).await);
        assert_eq!(outputs["kubeconfig"], command());
        assert_eq!(
            (&outputs["endpoint"], outputs.get("notChecked")),
            (&server.endpoint, None)
        );
        assert_eq!(outputs["version"], "1.33");
        let told = format!("{outputs:?} {token:?} {message}");
        for (_, signed) in server.asked() {
            assert!(
                signed.starts_with("k8s-aws-v1.") && !told.contains(&signed),
                "{told}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_does_not_get_ready_fails_after_half_an_hour() {
    let world = World::new().await;
    let server = ApiServer::start(|path| match path.starts_with("/api/v1/nodes") {
        true => nodes(&["True"], ""),
        false => well(path),
    })
    .await;
    let create = order(
        &world,
        "Private",
        &stack_of(&server.endpoint, &authority("authority.pem")),
    );
    let (token, _) = until_settling(&world, &create).await;
    world.time.passes(Duration::from_mins(29));
    let token = waits(&world.looked(&world.provider, &token).await);
    world.time.passes(Duration::from_mins(2));
    let reason = failed(
        world.looked(&world.provider, &token).await,
        FailureClass::Transient,
    );
    assert!(reason.contains("still: 1 of 3 nodes are ready"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_cluster_that_cannot_be_reached_is_done_and_says_so() {
    let world = World::new().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let template = stack_of(&format!("https://{nobody}"), &authority("authority.pem"));
    let create = order(&world, "Private", &template);
    let (token, message) = until_settling(&world, &create).await;
    assert!(message.contains("is not reached yet"), "{message}");
    world.time.passes(Duration::from_mins(3));
    let (_, outputs) = succeeded(world.looked(&world.provider, &token).await);
    assert!(outputs["notChecked"].contains("it is private"), "{outputs:?}");
    assert_eq!(outputs["kubeconfig"], command());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_deleted_while_it_is_waited_for_has_failed() {
    let world = World::new().await;
    let server = ApiServer::start(|_| nodes(&[], "")).await;
    let create = order(
        &world,
        "Public",
        &stack_of(&server.endpoint, &authority("authority.pem")),
    );
    let (token, _) = until_settling(&world, &create).await;
    succeeded(
        world
            .done(&world.order(2, Action::Delete, "cluster/shop", &json!({})))
            .await,
    );
    let reason = failed(world.looked(&world.provider, &token).await, FailureClass::Refused);
    assert!(reason.contains("was deleted while"), "{reason}");
}
