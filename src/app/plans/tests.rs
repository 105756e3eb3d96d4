//! Plans that take their time, of several makers at once.

use std::sync::Mutex;

use async_trait::async_trait;
use jiff::SignedDuration;

use super::*;
use crate::clock::ManualClock;
use crate::domain::change::Change;
use crate::domain::request::check::{ChangedFile, check_file};
use crate::domain::rules::check::check_rules;
use crate::domain::tree::Mode;
use crate::provider::Observed;
use crate::store::{Mark as StoreMark, StoreOptions};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Takes its time once, and writes down which tokens it is asked again by, and which it is to forget.
struct Slow {
    name: &'static str,
    heard: Mutex<Vec<String>>,
}

#[async_trait]
impl Planner for Slow {
    async fn observe(
        &self,
        _: &Scope,
        _: &BTreeMap<ResourceName, Provenance>,
    ) -> Result<Vec<Observed>, Failure> {
        Ok(Vec::new())
    }

    async fn plan(&self, question: &Question) -> Result<Answer, Failure> {
        let asked = question.pending.as_ref().map_or("new", |token| token.0.as_str());
        self.heard.lock().unwrap().push(format!("plan {asked}"));
        let poll_at = NOW.checked_add(SignedDuration::from_secs(1)).unwrap();
        Ok(match asked {
            "new" => Answer::Pending {
                token: Token(format!("{} 1", self.name)),
                poll_at,
            },
            _ => Answer::Ready(Plan::default()),
        })
    }

    async fn discard(&self, _: &Scope, token: &Token) -> Result<(), Failure> {
        self.heard.lock().unwrap().push(format!("discard {}", token.0));
        Ok(())
    }
}

const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments: {dev: {provider: Simulator}}
teams: {web: {group: web}}
roles: {admin: {groups: [platform/admins]}}
";

const SITE: &str = "\
apiVersion: landfall.dev/v1
kind: Project
metadata: {name: site, team: web}
spec:
  environment: dev
  virtualMachines: [{name: web}]
  repository: {name: site}
";

#[tokio::test]
async fn each_maker_of_a_request_gets_the_token_that_it_gave() {
    let (rules, findings) = check_rules(RULES.as_bytes());
    let rules = rules.unwrap_or_else(|| panic!("{findings:?}"));
    let file = ChangedFile {
        path: "requests/web/site.yaml",
        mode: Mode::File,
        size: SITE.len() as u64,
        bytes: Some(SITE.as_bytes()),
        before: None,
    };
    let (request, findings) = check_file(&rules, &file);
    let request = request.unwrap_or_else(|| panic!("{findings:?}"));
    let goals = [Change::Create(request.clone()).goal().unwrap()];
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(StoreOptions {
        path: folder.path().join("landfall.db"),
        clock: Arc::new(ManualClock::at(NOW)),
        mark: StoreMark::Sandbox,
    });
    let slow = |name| {
        Arc::new(Slow {
            name,
            heard: Mutex::default(),
        })
    };
    let (cloud, forge) = (slow("cloud"), slow("forge"));
    let planners: [(Maker, Arc<dyn Planner>); 2] = [
        (Maker::Provider(ProviderKind::Simulator), cloud.clone()),
        (Maker::Forge, forge.clone()),
    ];
    let plans = Plans::new(
        store.await.unwrap(),
        Arc::new(planners.into()),
        Arc::new(Catalog::builtin()),
        MarkingKey::new([1; 32]),
    );
    let repository: RepositoryId = "requests".parse().unwrap();
    let none = BTreeMap::new();
    let planned = plans.plan(&repository, &rules, &goals, &none, None).await;
    let Ok(Planned::Pending { tokens, .. }) = planned else {
        panic!("both take their time")
    };
    assert_eq!(tokens.len(), 2, "none replaces the other: {tokens:?}");
    let planned = plans.plan(&repository, &rules, &goals, &tokens, None).await;
    assert!(matches!(planned, Ok(Planned::Ready(..))));
    plans
        .discard_all(&repository, &rules, &[&request], &tokens)
        .await
        .unwrap();
    for one in [&cloud, &forge] {
        let name = one.name;
        let heard = one.heard.lock().unwrap().clone();
        assert_eq!(
            heard,
            [
                "plan new".to_owned(),
                format!("plan {name} 1"),
                format!("discard {name} 1")
            ]
        );
    }
}
