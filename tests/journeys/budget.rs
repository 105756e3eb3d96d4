//! How often the forge is asked for each event of a merge request that it tells of: at most five calls, and one git
//! fetch. Once somebody has approved, one call for each approver, and three that only the forge can answer: what the
//! comment with the plan says now, which versions there were, and when the merge request was closed or reopened. Once,
//! when somebody approves, it is asked who is who: one call for each account, and one for each e-mail address.

use crate::support::people::{SHOP, SHOP_FILE, WAITING};
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_of_a_merge_request_costs_the_forge_more_than_it_should() {
    let world = World::start().await;
    // What, those who approved, what is asked once, fetches, calls.
    let mut table: Vec<(&str, usize, usize, usize, Calls)> = Vec::new();

    let mark = world.sandbox.access_log_len();
    let merge_request = world.dana().asks_for_a_shop().await;
    merge_request.shows(WAITING, &["press **Approve**"]).await;
    world.settles().await;
    table.push(("opened", 0, 0, 1, Calls::since(&world, mark)));

    let mark = world.sandbox.access_log_len();
    let bigger = SHOP.replace("size: Small", "size: Large");
    let head = world.dana().pushes("shop", &[(SHOP_FILE, Some(&bigger))]);
    merge_request
        .shows_at(&head, WAITING, &["press **Approve**"])
        .await;
    world.settles().await;
    table.push(("pushed", 0, 0, 1, Calls::since(&world, mark)));

    let mark = world.sandbox.access_log_len();
    world.ada().approves(&merge_request).await;
    merge_request.shows("✅ Ready to merge", &["merge it now"]).await;
    world.settles().await;
    // Ada, dana, and dana's address.
    table.push(("approved", 1, 3, 1, Calls::since(&world, mark)));

    let mark = world.sandbox.access_log_len();
    world.ada().merges(&merge_request).await;
    merge_request.shows("✅ Done", &["Nothing to do"]).await;
    merge_request.result().await;
    world.settles().await;
    // Told of twice, by the merge request's hook and by that of the push onto the target branch; looked at once.
    table.push(("merged", 1, 0, 1, Calls::since(&world, mark)));

    let mut over = Vec::new();
    for (event, approvers, once, most_fetches, calls) in &table {
        let allowed = 5 + approvers + once + if *approvers > 0 { 3 } else { 0 };
        let (api, fetches) = (calls.api.len(), calls.fetches);
        println!("{event:10} {api} of {allowed} calls, {fetches} of {most_fetches} fetches");
        for call in &calls.api {
            println!("    {call}");
        }
        if api > allowed || fetches > *most_fetches {
            over.push(format!(
                "{event}: {api} of {allowed} calls, {fetches} of {most_fetches} fetches"
            ));
        }
    }
    assert!(over.is_empty(), "over the budget: {over:#?}");
}

/// What Landfall asked of the forge.
struct Calls {
    /// Each API call: method, path, query, status.
    api: Vec<String>,
    /// How often git was asked what there is.
    fetches: usize,
}

impl Calls {
    /// What it asked after that place in the forge's log.
    fn since(world: &World, mark: usize) -> Self {
        let log = world.sandbox.access_log_since(mark);
        let ours = log
            .into_iter()
            .filter(|entry| entry.user.as_deref() == Some("landfall"));
        let (api, git): (Vec<_>, Vec<_>) = ours.partition(|entry| entry.path.starts_with("/api/"));
        let mut api: Vec<String> = api
            .iter()
            .map(|call| format!("{} {}?{} {}", call.method, call.path, call.query, call.status))
            .collect();
        // While a run lasts its comment is edited every other second: how often is the machine's affair.
        api.dedup_by(|later, earlier| later == earlier && later.starts_with("PUT "));
        Self {
            api,
            fetches: git
                .iter()
                .filter(|entry| entry.path.ends_with("/info/refs"))
                .count(),
        }
    }
}
