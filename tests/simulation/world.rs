//! The world of one history.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use landfall::clock::{Clock as _, ManualClock};
use landfall::domain::ids::UserId;
use landfall::domain::key::Key;
use landfall::domain::merge_request::User;
use landfall::domain::tree::Tree;
use landfall::forge::{AccessLevel, Event};

use super::cloud::{Cloud, Sky};
use super::dice::Dice;
use super::forge::{Account, BOT, Group, MAIN, Project};
use super::oracle::{Oracle, Subject};
use super::people::{Click, Later};
use super::process::{Process, SWEEP_EVERY, repository_id};
use super::weather::Weather;

pub(super) const DANA: UserId = UserId(1);
pub(super) const EVE: UserId = UserId(2);
pub(super) const MAL: UserId = UserId(3);
pub(super) const ADA: UserId = UserId(4);
pub(super) const GRACE: UserId = UserId(5);
pub(super) const HUGO: UserId = UserId(6);
pub(super) const MAX: UserId = UserId(7);

const PEOPLE: [(UserId, &str, AccessLevel); 8] = [
    (DANA, "dana", AccessLevel::Developer),
    (EVE, "eve", AccessLevel::Developer),
    (MAL, "mal", AccessLevel::Maintainer),
    (ADA, "ada", AccessLevel::Maintainer),
    (GRACE, "grace", AccessLevel::Maintainer),
    (HUGO, "hugo", AccessLevel::Maintainer),
    (MAX, "max", AccessLevel::Maintainer),
    (BOT, "landfall", AccessLevel::Maintainer),
];

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) clock: ManualClock,
    pub(super) project: Arc<Mutex<Project>>,
    pub(super) cloud: Cloud,
    pub(super) weather: Arc<Weather>,
    pub(super) process: Process,
    pub(super) log: Vec<String>,
    pub(super) oracle: Oracle,
    pub(super) clicks: Vec<Click>,
    pub(super) plans: Vec<(Timestamp, Later)>,
    /// Whether somebody means harm.
    pub(super) hostile: bool,
    /// Whether they change our notes.
    pub(super) edits_notes: bool,
    /// The last number that was given out.
    pub(super) size: u32,
    /// Deliveries that are on their way.
    on_their_way: Vec<(u64, Event)>,
    sent: u64,
}

impl World {
    pub(super) async fn start(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let clock = ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap());
        let mut project = Project::new(clock.clone());
        for (id, name, level) in PEOPLE {
            let user = User {
                id,
                username: name.into(),
            };
            project.accounts.insert(
                id,
                Account {
                    user,
                    active: true,
                    level: Some(level),
                },
            );
        }
        for (id, path, member) in [(1, "platform/admins", HUGO), (2, "platform/friends", ADA)] {
            project.groups.push(Group {
                id,
                path: path.into(),
                members: [(member, AccessLevel::Maintainer)].into(),
            });
        }
        let project = Arc::new(Mutex::new(project));
        let weather = Arc::new(Weather::new(dice.fork()));
        let cloud = Cloud {
            sky: Arc::new(Mutex::new(Sky::default())),
            weather: weather.clone(),
            clock: clock.clone(),
        };
        let process = Process::start(clock.clone(), project.clone(), weather.clone(), cloud.clone()).await;
        let mut world = Self {
            dice,
            clock,
            project,
            cloud,
            weather,
            process,
            log: Vec::new(),
            oracle: Oracle::default(),
            clicks: Vec::new(),
            plans: Vec::new(),
            hostile: true,
            edits_notes: false,
            size: 100,
            on_their_way: Vec::new(),
            sent: 0,
        };
        let (rules, mut tree) = (world.first_rules(), Tree::default());
        tree.entries.insert("landfall.yaml".into(), rules);
        let first = world
            .project()
            .git
            .commit(&[], tree, "the rules", "ada@example.test");
        {
            let mut project = world.project();
            project.push(ADA, MAIN, &first);
            project.branches.insert("other".into(), first.clone());
            project.outbox.clear();
        }
        world.adopts().await;
        world
    }

    pub(super) fn project(&self) -> MutexGuard<'_, Project> {
        self.project.lock().unwrap()
    }

    pub(super) fn say(&mut self, what: String) {
        let now = self.clock.now();
        self.log.push(format!("{} {what}", now.strftime("%H:%M:%S%.3f")));
    }

    /// Whoever runs Landfall accepts what the target branch holds.
    async fn adopts(&mut self) {
        let main = self.project().main().clone();
        let adopted = self.process.adopts(&main).await;
        self.say(format!("the operator adopts {}: {adopted}", main.short()));
        if adopted {
            let project = self.project.lock().unwrap();
            self.oracle.adopts(&project, &main);
        }
    }

    /// Deliveries arrive, or do not, or twice, or later.
    async fn delivers(&mut self, calm: bool) {
        let told = std::mem::take(&mut self.project().outbox);
        for event in told {
            self.sent += 1;
            self.on_their_way.push((self.sent, event));
        }
        let mut later = Vec::new();
        let mut left = std::mem::take(&mut self.on_their_way);
        while !left.is_empty() {
            let (id, event) = left.swap_remove(if calm { 0 } else { self.dice.below(left.len()) });
            match if calm { 9 } else { self.dice.below(10) } {
                0 => self.log.push(format!("  lost: {event:?}")),
                1 | 2 => later.push((id, event)),
                3 => {
                    self.process.receives(id, &event).await;
                    later.push((id, event));
                }
                _ => self.process.receives(id, &event).await,
            }
        }
        self.on_their_way = later;
    }

    fn passes(&mut self, time: Duration) {
        self.clock.advance(time);
        self.project().tick();
        let now = self.clock.now();
        self.cloud.sky.lock().unwrap().goes_on(now);
    }

    /// One key is looked at; answers whether one was due.
    async fn look(&mut self) -> Result<bool, String> {
        let key = self.process.look().await;
        self.looked(key).await
    }

    async fn looked(&mut self, key: Option<Key>) -> Result<bool, String> {
        let Some(key) = key else {
            return Ok(false);
        };
        let calls = self.weather.calls();
        self.log.push(format!("  {key}: {}", calls.join(", ")));
        if matches!(key, Key::Landing { .. }) {
            let state = self.process.store.repository(&repository_id()).await.unwrap();
            state
                .examined
                .iter()
                .for_each(|examined| self.oracle.examined(examined));
        }
        self.judge()?;
        Ok(true)
    }

    /// Whether all that was begun was signed off.
    fn judge(&mut self) -> Result<(), String> {
        let project = self.project.lock().unwrap();
        self.oracle.looks(&project);
        self.oracle.judges(&self.cloud.sky.lock().unwrap().ledger)
    }

    /// Goes on until nothing is due within that time.
    async fn works_for(&mut self, time: Duration, calm: bool) -> Result<(), String> {
        let until = self.clock.now().checked_add(time).unwrap();
        for _ in 0..2_000 {
            self.presses();
            self.judge()?;
            self.delivers(calm).await;
            if self.look().await? {
                continue;
            }
            let (due, mark) = (self.process.next_due().await, self.project().next_mark());
            let next = [due, mark, self.next_click()].into_iter().flatten().min();
            let next = next.filter(|next| *next <= until).unwrap_or(until);
            let wait = Duration::try_from(next.duration_since(self.clock.now())).unwrap_or_default();
            self.passes(wait);
            if next == until {
                return Ok(());
            }
        }
        Err("there is always something left to do".into())
    }

    /// A whole history.
    pub(super) async fn history(&mut self) -> Result<(), String> {
        let weather = [0, 0, 80, 25][self.dice.below(4)];
        self.weather.becomes(weather);
        self.hostile = !self.dice.one_in(4);
        let calm = weather == 0 && self.dice.one_in(2);
        for _ in 0..15 + self.dice.below(30) {
            self.somebody_acts();
            self.presses();
            self.judge()?;
            match self.dice.below(10) {
                0 | 1 => {}
                2..=4 => {
                    self.delivers(calm).await;
                    self.look().await?;
                }
                5 => {
                    let key = self.process.goes_on().await;
                    self.looked(key).await?;
                }
                _ => {
                    let time = Duration::from_millis(self.dice.below(30_000) as u64);
                    self.works_for(time, calm).await?;
                }
            }
            let time = Duration::from_millis(self.dice.below(3_000) as u64);
            self.passes(time);
        }
        self.comes_to_rest().await?;
        self.a_bystander_gets_their_work_done().await
    }

    /// Fine weather, and time for everything to be looked at again.
    async fn comes_to_rest(&mut self) -> Result<(), String> {
        self.weather.becomes(0);
        loop {
            let key = self.process.goes_on().await;
            if !self.looked(key).await? {
                break;
            }
        }
        self.say("the weather clears up".into());
        self.works_for(SWEEP_EVERY * 2, true).await?;
        let state = self.process.store.repository(&repository_id()).await.unwrap();
        if state.suspended.is_some() {
            self.adopts().await;
            self.works_for(SWEEP_EVERY, true).await?;
        }
        Ok(())
    }

    /// Whatever happened before, somebody who means no harm asks for something new, and gets it.
    async fn a_bystander_gets_their_work_done(&mut self) -> Result<(), String> {
        for (user, _, level) in PEOPLE {
            self.project().accounts.get_mut(&user).unwrap().level = Some(level);
        }
        let looks = self.process.looks;
        let number = self.asks_for_something_new();
        self.works_for(Duration::from_secs(20), true).await?;
        for admin in [ADA, GRACE] {
            self.reads(admin, Subject::MergeRequest(number), false);
            self.works_for(Duration::from_secs(20), true).await?;
        }
        let view = self.oracle.view(&self.project(), &Subject::MergeRequest(number));
        let body = view.and_then(|view| view.body).unwrap_or_default();
        if !body.contains("### ✅ Ready to merge") || !self.merges(DANA, number) {
            return Err(format!("a bystander cannot merge what was signed off: {body}"));
        }
        self.works_for(Duration::from_secs(60), true).await?;
        let is_there = {
            let sky = self.cloud.sky.lock().unwrap();
            sky.things
                .keys()
                .any(|(request, _)| request.name.as_str() == "bystander")
        };
        let view = self.oracle.view(&self.project(), &Subject::MergeRequest(number));
        let body = view.and_then(|view| view.body).unwrap_or_default();
        if !is_there || !body.contains("### ✅ Done") {
            return Err(format!("a bystander's signed work was not done: {body}"));
        }
        let looks = self.process.looks - looks;
        if looks > 200 {
            return Err(format!("a bystander's work took {looks} looks"));
        }
        Ok(())
    }
}
