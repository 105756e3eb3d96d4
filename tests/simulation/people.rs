//! What people do: developers ask, admins read and sign, and some of either sort mean harm.

use std::time::Duration;

use jiff::Timestamp;
use landfall::clock::Clock as _;
use landfall::domain::ids::{CommitId, MergeRequestNumber, UserId};
use landfall::domain::merge_request::{MergeRequestState, Thread};
use landfall::domain::tree::{Entry, Mode, Tree};
use landfall::forge::AccessLevel;

use super::forge::{BOT, MAIN, Method};
use super::oracle::{Rules, Subject, View, Wish};
use super::world::{ADA, DANA, EVE, GRACE, HUGO, MAL, MAX, World};

/// Who looks before they sign.
const READERS: [UserId; 3] = [ADA, GRACE, HUGO];
/// Who may push onto the target branch and merge.
const MAINTAINERS: [UserId; 5] = [MAL, ADA, GRACE, HUGO, MAX];
/// For how long somebody may look at a page before they press a button on it: less than approvals need to settle.
const LONGEST_READ_MS: usize = 8_000;

/// A button that is about to be pressed.
pub(super) struct Click {
    at: Timestamp,
    user: UserId,
    on: Subject,
    view: View,
    command: bool,
}

/// What somebody means to do in a while.
pub(super) enum Later {
    /// Read it, and sign it.
    Sign(UserId, MergeRequestNumber, bool),
    Merge(UserId, MergeRequestNumber),
}

fn text(name: &str, environment: &str, size: u32) -> String {
    format!(
        "apiVersion: landfall.dev/v1\nkind: Project\nmetadata: {{name: {name}, team: web-team}}\nspec:\n  \
         environment: {environment}\n  deletionPolicy: Delete\n  databases: [{{name: main, version: \"17.6\", \
         storage: 64Gi, maxStorage: {size}Gi}}]\n"
    )
}

fn rules_text(rules: &Rules) -> String {
    let people = [(MAL, "mal"), (ADA, "ada"), (GRACE, "grace")];
    let admins = people.iter().filter(|(id, _)| rules.admins.contains(id));
    let admins: Vec<String> = admins
        .map(|(id, name)| format!("{{id: {id}, name: {name}}}"))
        .collect();
    format!(
        "apiVersion: landfall.dev/v1\nkind: Rules\nenvironments:\n  dev:\n    provider: Simulator\n    \
         region: eu-central-1\n  prod:\n    provider: Simulator\n    region: eu-west-1\n    approvals: {{required: {}}}\n\
         teams:\n  web-team:\n    members: [{{id: 1, name: dana}}]\nroles:\n  admin:\n    users: [{}]\n    \
         groups: [{}]\napprovals:\n  required: {}\n",
        rules.in_prod,
        admins.join(", "),
        rules.group,
        rules.required
    )
}

impl World {
    /// A file that asks for that, and that the oracle knows.
    fn wish(&mut self, wish: Wish) -> Entry {
        let text = match &wish {
            Wish::Request {
                name,
                environment,
                size,
            } => text(name, environment, *size),
            Wish::Rules(rules) => rules_text(rules),
        };
        let entry = self.project().git.file(&text);
        self.oracle.wishes.insert(entry.blob.clone(), wish);
        entry
    }

    /// The rules that everything begins with.
    pub(super) fn first_rules(&mut self) -> Entry {
        self.wish(Wish::Rules(Rules {
            admins: [MAL, ADA, GRACE].into(),
            group: "platform/admins".into(),
            required: 1,
            in_prod: 2,
        }))
    }

    /// A request of that name, of a size that nobody asked for before.
    fn fresh(&mut self, name: &str) -> Entry {
        self.size += 1;
        // Where something is cannot be changed: so each name is always asked for in the same place.
        let environment = if name == "r0" { "prod" } else { "dev" };
        self.wish(Wish::Request {
            name: name.to_owned(),
            environment: environment.to_owned(),
            size: self.size,
        })
    }

    /// Changes a tree as somebody might who asks for something.
    fn edit(&mut self, tree: &mut Tree) -> String {
        let name = format!("r{}", self.dice.below(3));
        let path = format!("requests/web-team/{name}.yaml");
        match self.dice.below(12) {
            0 | 1 if tree.entries.remove(&path).is_some() => format!("without {name}"),
            2 => {
                let mut admins: std::collections::BTreeSet<UserId> = [ADA, GRACE].into();
                if self.dice.one_in(2) {
                    admins.insert(MAL);
                }
                let rules = Rules {
                    admins,
                    group: if self.dice.one_in(3) {
                        "platform/friends"
                    } else {
                        "platform/admins"
                    }
                    .into(),
                    required: 1 + self.dice.below(2),
                    in_prod: 1 + self.dice.below(2),
                };
                let said = format!("rules {rules:?}");
                let entry = self.wish(Wish::Rules(rules));
                tree.entries.insert("landfall.yaml".into(), entry);
                said
            }
            3 => {
                let odd = [
                    Mode::SymbolicLink,
                    Mode::Submodule,
                    Mode::Unreadable,
                    Mode::Executable,
                ];
                let mode = odd[self.dice.below(odd.len())];
                let entry = self.fresh(&name);
                tree.entries.insert(path, Entry { mode, ..entry });
                format!("{name} as {mode:?}")
            }
            4 => {
                let odd = [
                    "requests/web-team/.x.yml",
                    "requests/web-team/a/b.yaml",
                    "catalog/x",
                    "requests/web-team/r0.YAML",
                ];
                let odd = odd[self.dice.below(odd.len())];
                let entry = self.fresh(&name);
                if !odd.starts_with("requests/") {
                    // No request there, whatever it says.
                    self.oracle.wishes.remove(&entry.blob);
                }
                tree.entries.insert(odd.into(), entry);
                format!("{name} at {odd}")
            }
            5 => {
                tree.entries.insert("README.md".into(), {
                    self.size += 1;
                    let text = format!("{}", self.size);
                    self.project().git.file(&text)
                });
                "README".to_owned()
            }
            _ => {
                let entry = self.fresh(&name);
                tree.entries.insert(path, entry);
                format!("{name} of {}", self.size)
            }
        }
    }

    /// A request that nobody else has anything to do with.
    pub(super) fn asks_for_something_new(&mut self) -> MergeRequestNumber {
        self.size += 1;
        let size = self.size;
        let file = self.wish(Wish::Request {
            name: "bystander".into(),
            environment: "dev".into(),
            size,
        });
        let main = self.project().main().clone();
        let mut tree = self.project().git.tree(&main).clone();
        tree.entries
            .insert("requests/web-team/bystander.yaml".into(), file);
        let head = self.commit(DANA, &[main], tree);
        self.push(DANA, "bystander", &head);
        let number = self.project().open(DANA, "bystander");
        self.say(format!("a bystander opens !{number}"));
        number
    }

    fn commit(&mut self, author: UserId, parents: &[CommitId], tree: Tree) -> CommitId {
        self.size += 1;
        let subject = format!("change {}", self.size);
        let mut project = self.project();
        let email = format!("{}@example.test", project.user(author).username);
        let commit = project.git.commit(parents, tree.clone(), &subject, &email);
        let changes = parents
            .first()
            .is_none_or(|parent| *project.git.tree(parent) != tree);
        drop(project);
        if changes {
            self.oracle.authors.insert(commit.clone(), author);
        }
        commit
    }

    pub(super) fn push(&mut self, user: UserId, branch: &str, head: &CommitId) {
        let now = self.clock.now();
        let mut project = self.project();
        let before = project.branches.get(branch).cloned();
        project.push(user, branch, head);
        let changes = {
            let git = &project.git;
            let parent = git.commits[head].commit.parents.first();
            parent.is_none_or(|parent| git.tree(parent) != git.tree(head))
        };
        drop(project);
        if changes {
            self.oracle.pushes(branch, head, user, now);
        }
        if let Some(before) = before.filter(|before| branch == MAIN && before != head) {
            self.oracle.lands(before, head.clone(), None, now);
        }
    }

    /// Somebody asks for something by a merge request.
    pub(super) fn asks(&mut self, user: UserId, pusher: UserId, author: UserId) -> MergeRequestNumber {
        let main = self.project().main().clone();
        let mut tree = self.project().git.tree(&main).clone();
        let mut said = self.edit(&mut tree);
        if self.dice.one_in(4) {
            said = format!("{said}, {}", self.edit(&mut tree));
        }
        let head = self.commit(author, &[main], tree);
        self.size += 1;
        let branch = format!("b{}", self.size);
        self.push(pusher, &branch, &head);
        let number = self.project().open(user, &branch);
        self.say(format!("user {user} opens !{number}: {said}"));
        number
    }

    /// Somebody reads a page, and will press a button on it in a moment.
    pub(super) fn reads(&mut self, user: UserId, on: Subject, command: bool) {
        let view = self.oracle.view(&self.project(), &on);
        let Some(view) = view else { return };
        let wait = Duration::from_millis(self.dice.below(LONGEST_READ_MS) as u64);
        let at = self.clock.now().checked_add(wait).unwrap();
        let headline = view
            .body
            .as_ref()
            .and_then(|body| body.lines().nth(1))
            .unwrap_or("nothing of ours")
            .to_owned();
        self.say(format!(
            "user {user} reads {on:?} at {}: {headline}",
            view.head.short()
        ));
        self.clicks.push(Click {
            at,
            user,
            on,
            view,
            command,
        });
    }

    /// Buttons whose time has come are pressed.
    pub(super) fn presses(&mut self) {
        let now = self.clock.now();
        let (due, later) = std::mem::take(&mut self.clicks)
            .into_iter()
            .partition(|click| click.at <= now);
        self.clicks = later;
        let due: Vec<Click> = due;
        let (plans, left) = std::mem::take(&mut self.plans)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.plans = left;
        let plans: Vec<(Timestamp, Later)> = plans;
        for (_, plan) in plans {
            match plan {
                Later::Sign(user, number, command) => {
                    self.reads(user, Subject::MergeRequest(number), command)
                }
                Later::Merge(user, number) => drop(self.merges(user, number)),
            }
        }
        for Click {
            user,
            on,
            view,
            command,
            ..
        } in due
        {
            if command {
                let Some(digest) = view.digest() else { continue };
                let thread = match &on {
                    Subject::MergeRequest(number) => Some(Thread::MergeRequest(*number)),
                    Subject::Push(commit) => {
                        let project = self.project();
                        let issue = project
                            .issues
                            .iter()
                            .find(|issue| issue.body.contains(commit.as_str()));
                        issue.map(|issue| Thread::Issue(issue.number))
                    }
                };
                let Some(thread) = thread else { continue };
                let body = format!("/landfall approve {digest}");
                self.project().note(user, thread, &body);
                self.say(format!("user {user} signs {on:?} by {digest}"));
                self.oracle.signs(user, on, view, true);
            } else if let Subject::MergeRequest(number) = on {
                if view.says("revoke the approval and approve again") {
                    self.project().revoke(user, number);
                    self.oracle.revokes(user, number, now);
                }
                if self.project().approve(user, number) {
                    self.say(format!("user {user} approves !{number}"));
                    // The forge shows new notes on a page that is open, and no new commits.
                    let now_shown = self.oracle.view(&self.project(), &Subject::MergeRequest(number));
                    let Some(now_shown) = now_shown else { continue };
                    let view = View {
                        at: view.at,
                        head: view.head,
                        ..now_shown
                    };
                    self.oracle
                        .signs(user, Subject::MergeRequest(number), view, false);
                }
            }
        }
    }

    pub(super) fn next_click(&self) -> Option<Timestamp> {
        let plans = self.plans.iter().map(|(at, _)| *at);
        self.clicks.iter().map(|click| click.at).chain(plans).min()
    }

    fn open_ones(&self) -> Vec<MergeRequestNumber> {
        let project = self.project();
        let open = project
            .merge_requests
            .iter()
            .filter(|one| one.state == MergeRequestState::Open && one.merged_at.is_none());
        open.map(|one| one.number).collect()
    }

    pub(super) fn merges(&mut self, user: UserId, number: MergeRequestNumber) -> bool {
        let method = [Method::Merge, Method::Merge, Method::Squash, Method::FastForward][self.dice.below(4)];
        let lag = Duration::from_millis(self.dice.below(2_000) as u64);
        let before = self.project().main().clone();
        let merged = self.project().merge(user, number, method, lag);
        if merged {
            let (after, now) = (self.project().main().clone(), self.clock.now());
            self.say(format!("user {user} merges !{number} ({method:?})"));
            self.oracle.lands(before, after, Some(number), now);
        }
        merged
    }

    fn says_ready(&self, number: MergeRequestNumber) -> bool {
        let view = self.oracle.view(&self.project(), &Subject::MergeRequest(number));
        view.is_some_and(|view| view.says("### ✅ Ready to merge"))
    }

    /// One of them does something.
    pub(super) fn somebody_acts(&mut self) {
        let open = self.open_ones();
        let one = self.dice.pick(&open).copied();
        let reader = READERS[self.dice.below(READERS.len())];
        match (self.dice.below(40), one) {
            (0..=3, _) => drop(self.asks(DANA, DANA, DANA)),
            (4..=12, Some(number)) => {
                let command = self.dice.one_in(4);
                self.reads(reader, Subject::MergeRequest(number), command);
            }
            (13..=18, Some(_)) => {
                let ready: Vec<MergeRequestNumber> = open
                    .into_iter()
                    .filter(|number| self.says_ready(*number))
                    .collect();
                if let Some(number) = self.dice.pick(&ready).copied() {
                    self.merges(DANA, number);
                }
            }
            (19 | 20, _) => self.reads_what_is_held(reader),
            (21, Some(number)) => {
                let given = self
                    .project()
                    .merge_request(number)
                    .map(|one| one.approvals.clone())
                    .unwrap_or_default();
                if let Some((user, _)) = self.dice.pick(&given).copied() {
                    let now = self.clock.now();
                    self.project().revoke(user, number);
                    self.oracle.revokes(user, number, now);
                    self.say(format!("user {user} revokes on !{number}"));
                }
            }
            (22, _) => self.something_goes(),
            (23..=39, one) if self.hostile => self.somebody_means_harm(one),
            _ => {}
        }
    }

    /// Somebody reads what landed without a sign-off, and releases it.
    fn reads_what_is_held(&mut self, reader: UserId) {
        let held: Vec<Subject> = {
            let project = self.project();
            let pushed = project
                .issues
                .iter()
                .filter(|issue| issue.open)
                .filter_map(|issue| {
                    let (_, after) = issue.body.split_once("direct-push requests/")?;
                    Some(Subject::Push(after.split(' ').next()?.parse().ok()?))
                });
            let merged = project
                .merge_requests
                .iter()
                .filter(|one| one.state == MergeRequestState::Merged);
            let merged = merged.map(|one| Subject::MergeRequest(one.number));
            pushed.chain(merged).collect()
        };
        if let Some(subject) = self.dice.pick(&held).cloned() {
            self.reads(reader, subject, true);
        }
    }

    fn somebody_means_harm(&mut self, one: Option<MergeRequestNumber>) {
        let insider = [EVE, MAL, MAX][self.dice.below(3)];
        let maintainer = MAINTAINERS[self.dice.below(MAINTAINERS.len())];
        let now = self.clock.now();
        match (self.dice.below(19), one) {
            (0 | 1, _) => {
                // Somebody who may sign is behind it, as far as the forge tells.
                let mut who = || [insider, EVE, MAL][self.dice.below(3)];
                let (user, pusher, author) = (who(), who(), who());
                let number = self.asks(user, pusher, author);
                self.will_be_signed_by_mal(number);
            }
            (17, Some(number)) => {
                // Another change, under the eyes of who is reading.
                let reader = READERS[self.dice.below(READERS.len())];
                let command = self.dice.one_in(2);
                self.reads(reader, Subject::MergeRequest(number), command);
                self.puts_other_content(insider, number);
                self.will(20_000, Later::Merge(maintainer, number));
            }
            (2..=4, Some(number)) => {
                self.puts_other_content(insider, number);
                if self.dice.one_in(2) {
                    self.will_be_signed_by_mal(number);
                }
            }
            (5 | 6, Some(number)) => {
                // Back to what it was before.
                let (branch, heads) = {
                    let project = self.project();
                    let one = project.merge_request(number).unwrap();
                    let heads: Vec<CommitId> =
                        one.versions.iter().map(|version| version.head.clone()).collect();
                    (one.source.clone(), heads)
                };
                if let Some(head) = self.dice.pick(&heads).cloned() {
                    self.push(insider, &branch, &head);
                    self.say(format!("user {insider} puts !{number} back to {}", head.short()));
                }
            }
            (7 | 8, Some(number)) => drop(self.merges(maintainer, number)),
            (9, Some(number)) => {
                self.say(format!("user {insider} closes !{number}"));
                self.project().close(number);
                self.oracle.voids(number, now);
            }
            (10, _) => {
                let closed: Vec<MergeRequestNumber> = {
                    let project = self.project();
                    let closed = project
                        .merge_requests
                        .iter()
                        .filter(|one| one.state == MergeRequestState::Closed);
                    closed.map(|one| one.number).collect()
                };
                if let Some(number) = self.dice.pick(&closed).copied() {
                    self.say(format!("user {insider} reopens !{number}"));
                    self.project().reopen(number);
                }
            }
            (11, Some(number)) => {
                let elsewhere = self
                    .project()
                    .merge_request(number)
                    .is_some_and(|one| one.target != MAIN);
                let target = if elsewhere { MAIN } else { "other" };
                self.say(format!("user {insider} sends !{number} to {target}"));
                self.project().retarget(number, target);
                self.oracle.voids(number, now);
            }
            (12 | 13, _) => {
                let main = self.project().main().clone();
                let mut tree = self.project().git.tree(&main).clone();
                let said = self.edit(&mut tree);
                let commit = self.commit(insider, &[main], tree);
                self.say(format!(
                    "user {maintainer} pushes {} onto main: {said}",
                    commit.short()
                ));
                self.push(maintainer, MAIN, &commit);
            }
            (14, Some(number)) => {
                let command = self.dice.one_in(2);
                self.reads(MAL, Subject::MergeRequest(number), command);
            }
            (15, _) => {
                let user = [MAL, ADA, GRACE, HUGO][self.dice.below(4)];
                let mut project = self.project();
                let account = project.accounts.get_mut(&user).unwrap();
                if account.level == Some(AccessLevel::Maintainer) && account.active {
                    account.level = [None, Some(AccessLevel::Reporter)][usize::from(user == ADA)];
                } else {
                    account.level = Some(AccessLevel::Maintainer);
                }
                drop(project);
                self.say(format!("user {user} is member no more, or again"));
            }
            (16, _) => {
                let place = self.dice.below(2);
                let user = if place == 0 {
                    HUGO
                } else {
                    [HUGO, EVE, MAX][self.dice.below(3)]
                };
                let level = if self.dice.one_in(3) {
                    AccessLevel::Guest
                } else {
                    AccessLevel::Developer
                };
                let mut project = self.project();
                let group = &mut project.groups[place];
                if group.members.remove(&user).is_none() {
                    group.members.insert(user, level);
                }
                let group = group.path.clone();
                drop(project);
                self.say(format!("user {user} is in {group} no more, or now"));
            }
            (_, Some(number)) if self.edits_notes => {
                let thread = Thread::MergeRequest(number);
                let notes = self.project().notes(thread).unwrap_or_default().to_vec();
                if let Some(note) = self.dice.pick(&notes).filter(|note| note.author == BOT).cloned() {
                    if self.dice.one_in(2) {
                        self.project().edit(MAX, thread, note.id, "nothing to see here");
                    } else {
                        self.project().delete_note(thread, note.id);
                    }
                    self.say(format!("user {MAX} edits or deletes our note on !{number}"));
                }
            }
            _ => {}
        }
    }

    fn puts_other_content(&mut self, insider: UserId, number: MergeRequestNumber) {
        // Other content onto somebody's branch, on top or in place of what was there.
        let (branch, head) = {
            let project = self.project();
            let one = project.merge_request(number).unwrap();
            (one.source.clone(), one.head.clone())
        };
        let mut tree = self.project().git.tree(&head).clone();
        let said = self.edit(&mut tree);
        let on_top = self.dice.one_in(2);
        let parents = if on_top {
            vec![head]
        } else {
            self.project().git.commits[&head].commit.parents.clone()
        };
        let author = if self.dice.one_in(2) { insider } else { DANA };
        let commit = self.commit(author, &parents, tree);
        self.push(insider, &branch, &commit);
        self.say(format!(
            "user {insider} pushes {} onto !{number}: {said}",
            commit.short()
        ));
    }

    /// Mal will sign it, and somebody will merge it.
    fn will_be_signed_by_mal(&mut self, number: MergeRequestNumber) {
        let command = self.dice.one_in(2);
        self.will(12_000, Later::Sign(MAL, number, command));
        self.will(30_000, Later::Merge(MAX, number));
    }

    fn will(&mut self, after_ms: usize, what: Later) {
        let wait = Duration::from_millis((after_ms + self.dice.below(5_000)) as u64);
        let at = self.clock.now().checked_add(wait).unwrap();
        self.plans.push((at, what));
    }

    /// Something in the cloud is removed by hand.
    fn something_goes(&mut self) {
        let mut sky = self.cloud.sky.lock().unwrap();
        let there: Vec<_> = sky.things.keys().cloned().collect();
        let Some(place) = self.dice.pick(&there).cloned() else {
            return;
        };
        sky.things.remove(&place);
        drop(sky);
        self.say(format!("{} is removed by hand", place.0));
    }
}
