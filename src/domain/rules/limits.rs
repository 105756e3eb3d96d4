//! How much may be asked for: what the limits of `landfall.yaml` say of all requests together.

use std::collections::BTreeMap;

use super::raw::{RawLimits, RawTeamLimits};
use super::{Limits, Rules, TeamLimits};
use crate::domain::finding::{Code, Finding, Place};
use crate::domain::ids::{EnvironmentName, TeamName};
use crate::domain::request::Request;
use crate::domain::request::quantity::Quantity;
use crate::domain::shape::list;
use crate::domain::usage::Usage;

impl From<&RawLimits> for Limits {
    fn from(raw: &RawLimits) -> Self {
        Self {
            nodes_per_cluster: raw.nodes_per_cluster,
            clusters_per_team: raw.clusters_per_team,
            cores_per_team: raw.cores_per_team,
            memory_per_team: raw.memory_per_team,
            disk_per_team: raw.disk_per_team,
            disk_per_machine: raw.disk_per_machine,
            disk_per_database: raw.disk_per_database,
        }
    }
}

impl From<&RawTeamLimits> for TeamLimits {
    fn from(raw: &RawTeamLimits) -> Self {
        Self {
            clusters: raw.clusters,
            nodes: raw.nodes,
            cores: raw.cores,
            memory: raw.memory,
            disk: raw.disk,
        }
    }
}

/// One limit: the field that sets it, what it counts, how much is allowed, and in what it is said.
struct Limit {
    field: &'static str,
    count: fn(&Usage) -> u64,
    allowed: Option<u64>,
    what: &'static str,
}

impl Limit {
    fn number(
        field: &'static str,
        count: fn(&Usage) -> u64,
        allowed: Option<u32>,
        what: &'static str,
    ) -> Self {
        let allowed = allowed.map(u64::from);
        Self {
            field,
            count,
            allowed,
            what,
        }
    }

    /// Counted in gibibytes; a part of one that is allowed is of no use.
    fn size(
        field: &'static str,
        count: fn(&Usage) -> u64,
        allowed: Option<Quantity>,
        what: &'static str,
    ) -> Self {
        let allowed = allowed.map(|size| size.bytes() >> 30);
        Self {
            field,
            count,
            allowed,
            what,
        }
    }

    /// Whether the requests are within it, or at least not above what was there before of the same.
    fn is_kept(
        &self,
        before: &[&Request],
        is_its: impl Fn(&Request) -> bool,
        after: &[(Option<&str>, &Request)],
    ) -> bool {
        let sum = |requests: &[&Request]| {
            requests
                .iter()
                .map(|one| (self.count)(&Usage::of([*one])))
                .sum::<u64>()
        };
        let before: Vec<&Request> = before.iter().copied().filter(|request| is_its(request)).collect();
        let after: Vec<&Request> = after.iter().map(|(_, request)| *request).collect();
        self.allowed
            .is_none_or(|allowed| sum(&after) <= allowed.max(sum(&before)))
    }
}

const MEMORY: &str = "Gi of memory in virtual machines";
const DISK: &str = "Gi of disk in virtual machines and databases";
const CORES: &str = "virtual CPUs in virtual machines";

impl Limits {
    fn of_team(&self) -> [Limit; 4] {
        [
            Limit::number(
                "clustersPerTeam",
                |u| u.clusters,
                self.clusters_per_team,
                "clusters",
            ),
            Limit::number("coresPerTeam", |u| u.cores, self.cores_per_team, CORES),
            Limit::size(
                "memoryPerTeam",
                |u| u.memory_gibibytes,
                self.memory_per_team,
                MEMORY,
            ),
            Limit::size("diskPerTeam", |u| u.disk_gibibytes, self.disk_per_team, DISK),
        ]
    }
}

impl TeamLimits {
    fn all(&self) -> [Limit; 5] {
        [
            Limit::number("clusters", |u| u.clusters, self.clusters, "clusters"),
            Limit::number("nodes", |u| u.nodes, self.nodes, "nodes in clusters"),
            Limit::number("cores", |u| u.cores, self.cores, CORES),
            Limit::size("memory", |u| u.memory_gibibytes, self.memory, MEMORY),
            Limit::size("disk", |u| u.disk_gibibytes, self.disk, DISK),
        ]
    }
}

/// More than a team may have, in an environment or in all: told at each of the requests that add to it, since any of
/// them may be the new one. Takes every request that was there before, every one that will be, with its path, and what will be
/// there though none of them asks for it. Who has more already, since a limit was set or lowered later, may ask for as
/// much or for less.
#[must_use]
pub fn check_limits(
    rules: &Rules,
    before: &[&Request],
    checked: &[(String, Request)],
    kept: &[Request],
) -> Vec<Finding> {
    type Requests<'a> = Vec<(Option<&'a str>, &'a Request)>;
    let mut by_team: BTreeMap<&TeamName, Requests<'_>> = BTreeMap::new();
    let mut by_place: BTreeMap<(&EnvironmentName, &TeamName), Requests<'_>> = BTreeMap::new();
    let asked = checked
        .iter()
        .map(|(path, request)| (Some(path.as_str()), request));
    for entry in asked.chain(kept.iter().map(|request| (None, request))) {
        let (_, request) = entry;
        by_team.entry(&request.team).or_default().push(entry);
        by_place
            .entry((&request.environment, &request.team))
            .or_default()
            .push(entry);
    }
    let mut findings = Vec::new();
    for ((name, team), requests) in by_place {
        let Some(environment) = rules.environments.get(name) else {
            continue;
        };
        for limit in environment.limits.of_team() {
            let field = format!("environments.{name}.limits.{}", limit.field);
            let is_its = |request: &Request| request.environment == *name && request.team == *team;
            if !limit.is_kept(before, is_its, &requests) {
                let place = format!(" in `{name}`");
                findings.extend(over(rules, &limit, &field, &place, team, &requests));
            }
        }
    }
    for (name, requests) in by_team {
        let Some(team) = rules.teams.get(name) else {
            continue;
        };
        for limit in team.limits.all() {
            let field = format!("teams.{name}.limits.{}", limit.field);
            if !limit.is_kept(before, |request| request.team == *name, &requests) {
                findings.extend(over(rules, &limit, &field, "", name, &requests));
            }
        }
    }
    findings
}

fn over(
    rules: &Rules,
    limit: &Limit,
    field: &str,
    place: &str,
    team: &TeamName,
    requests: &[(Option<&str>, &Request)],
) -> Vec<Finding> {
    const MOST_LISTED: usize = 5;
    let Some(allowed) = limit.allowed else {
        return Vec::new();
    };
    let count = |request: &Request| (limit.count)(&Usage::of([request]));
    let mut adding: Vec<_> = requests
        .iter()
        .map(|(path, request)| (count(request), *path, *request))
        .filter(|(count, _, _)| *count > 0)
        .collect();
    let sum: u64 = adding.iter().map(|(count, _, _)| count).sum();
    adding.sort_by_key(|(count, path, _)| (std::cmp::Reverse(*count), *path));
    let mut parts: Vec<String> = adding
        .iter()
        .take(MOST_LISTED)
        .map(|(count, path, request)| match path {
            Some(_) => format!("{count} of {}", request.key),
            None => format!("{count} that are left of {}", request.key),
        })
        .collect();
    if adding.len() > MOST_LISTED {
        parts.push(format!("{} more", adding.len() - MOST_LISTED));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let message = format!(
        "The team `{team}` would have {sum} {}{place}, and {allowed} are allowed: {}.",
        limit.what,
        list(&parts, "and")
    );
    let hint = raise(rules, field);
    adding
        .iter()
        .filter_map(|(_, path, _)| *path)
        .map(|path| {
            Finding::error(
                Code::OverLimit,
                Place::start_of(path),
                message.clone(),
                hint.clone(),
            )
        })
        .collect()
}

/// What to do about a limit, and who can change it.
#[must_use]
pub fn raise(rules: &Rules, field: &str) -> String {
    let names = rules.admins.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    format!(
        "Ask for less, or have an admin raise `{field}` in `landfall.yaml`: {}.",
        list(&names, "or")
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::request::check::{ChangedFile, check_file, check_together};
    use crate::domain::rules::check::check_rules;
    use crate::domain::tree::Mode;

    fn rules(environment: &str, team: &str) -> Rules {
        let text = format!(
            "apiVersion: landfall.dev/v1\nkind: Rules\nenvironments:\n  dev: {{provider: Simulator, limits: {{{environment}}}}}\n  \
             prod: {{provider: Simulator}}\nteams: {{web: {{limits: {{{team}}}}}, data: {{}}}}\n\
             roles: {{admin: {{users: [{{id: 1, name: ada}}], groups: [platform/admins]}}}}\n"
        );
        let (rules, findings) = check_rules(text.as_bytes());
        rules.unwrap_or_else(|| panic!("{findings:?}"))
    }

    fn checked(
        rules: &Rules,
        kind: &str,
        name: &str,
        environment: &str,
        spec: &str,
    ) -> (Option<Request>, Vec<Finding>) {
        let text = format!(
            "apiVersion: landfall.dev/v1\nkind: {kind}\nmetadata: {{name: {name}, team: web}}\nspec: {{environment: {environment}, {spec}}}\n"
        );
        let path = format!("requests/web/{name}.yaml");
        let file = ChangedFile {
            path: &path,
            mode: Mode::File,
            size: text.len() as u64,
            bytes: Some(text.as_bytes()),
            before: None,
        };
        check_file(rules, &file)
    }

    /// A project with two large machines in `dev`, one with a small machine and a database there, a cluster in `prod`.
    fn told(environment: &str, team: &str) -> Vec<(String, String, String)> {
        let rules = rules(environment, team);
        let requests = [
            (
                "Project",
                "big",
                "dev",
                "virtualMachines: [{name: a, size: Large}, {name: b, size: Large}]",
            ),
            (
                "Project",
                "shop",
                "dev",
                "virtualMachines: [{name: a}], databases: [{name: d, version: \"17.6\"}]",
            ),
            (
                "Cluster",
                "main",
                "prod",
                "version: \"1.33\", apiServer: {access: Private}, nodePools: [{name: a}]",
            ),
        ];
        let requests: Vec<(String, Request)> = requests
            .into_iter()
            .map(|(kind, name, environment, spec)| {
                let (request, findings) = checked(&rules, kind, name, environment, spec);
                (
                    format!("requests/web/{name}.yaml"),
                    request.unwrap_or_else(|| panic!("{findings:?}")),
                )
            })
            .collect();
        check_together(Some(&rules), &[], &requests, &[])
            .into_iter()
            .map(|f| (f.place.path, f.message, f.hint))
            .collect()
    }

    #[rstest]
    #[case::cores("coresPerTeam: 18", "")]
    #[case::memory("memoryPerTeam: 72Gi", "")]
    #[case::disk("diskPerTeam: 190Gi", "")]
    #[case::clusters("clustersPerTeam: 0", "")] // the cluster is elsewhere
    #[case::team("", "clusters: 1, nodes: 5, cores: 18, memory: 72Gi, disk: 190Gi")]
    fn what_is_within_the_limits_is_fine(#[case] environment: &str, #[case] team: &str) {
        assert_eq!(told(environment, team), []);
    }

    #[rstest]
    #[case::cores(
        "coresPerTeam: 17",
        "",
        2,
        "18 virtual CPUs in virtual machines in `dev`, and 17 are allowed: `16 of Project/big` and `2 of Project/shop`",
        "environments.dev.limits.coresPerTeam"
    )]
    #[case::memory(
        "memoryPerTeam: 71Gi",
        "",
        2,
        "72 Gi of memory",
        "environments.dev.limits.memoryPerTeam"
    )]
    #[case::disk(
        "diskPerTeam: 189Gi",
        "",
        2,
        "190 Gi of disk",
        "environments.dev.limits.diskPerTeam"
    )]
    #[case::team_cores(
        "",
        "cores: 17",
        2,
        "18 virtual CPUs in virtual machines, and 17 are allowed",
        "teams.web.limits.cores"
    )]
    #[case::team_nodes(
        "",
        "nodes: 4",
        1,
        "5 nodes in clusters, and 4 are allowed: `5 of Cluster/main`",
        "teams.web.limits.nodes"
    )]
    #[case::team_clusters(
        "",
        "clusters: 0",
        1,
        "1 clusters, and 0 are allowed",
        "teams.web.limits.clusters"
    )]
    #[case::team_disk("", "disk: 100Gi", 2, "190 Gi of disk", "teams.web.limits.disk")]
    #[case::team_memory("", "memory: 1Gi", 2, "72 Gi of memory", "teams.web.limits.memory")]
    fn what_is_over_a_limit_is_told_at_what_adds_to_it(
        #[case] environment: &str,
        #[case] team: &str,
        #[case] files: usize,
        #[case] message: &str,
        #[case] field: &str,
    ) {
        let told = told(environment, team);
        assert_eq!(told.len(), files, "{told:?}");
        for (_, said, hint) in told {
            assert!(said.contains(message), "{said}");
            let who = "`ada` or `members of platform/admins`";
            assert!(hint.contains(field) && hint.contains(who), "{hint}");
        }
    }

    #[rstest]
    #[case::as_much("{name: a, size: Large}, {name: b, size: Large}", 0)]
    #[case::smaller("{name: a, size: Large}, {name: b, size: Medium}", 0)]
    #[case::fewer("{name: a, size: Large}", 0)]
    #[case::as_many_but_larger_disks("{name: a, size: Large, diskSize: 31Gi}, {name: b, size: Large}", 1)]
    #[case::one_more("{name: a, size: Large}, {name: b, size: Large}, {name: c}", 3)]
    fn who_is_over_a_limit_already_may_ask_for_less(#[case] machines: &str, #[case] limits: usize) {
        // Each is lower than what there is.
        let rules = rules("coresPerTeam: 4, memoryPerTeam: 16Gi, diskPerTeam: 40Gi", "");
        let request = |machines: &str| {
            let spec = format!("virtualMachines: [{machines}]");
            let (request, findings) = checked(&rules, "Project", "shop", "dev", &spec);
            request.unwrap_or_else(|| panic!("{findings:?}"))
        };
        let before = request("{name: a, size: Large}, {name: b, size: Large}");
        let after = [("requests/web/shop.yaml".to_owned(), request(machines))];
        let told = check_limits(&rules, &[&before], &after, &[]);
        assert_eq!(told.len(), limits, "{told:?}");
    }

    #[test]
    fn what_others_give_up_is_no_room_for_who_never_had_it() {
        let rules = rules("coresPerTeam: 4", "");
        let of = |name: &str, environment: &str| {
            let spec = "virtualMachines: [{name: a, size: Large}]";
            let (request, findings) = checked(&rules, "Project", name, environment, spec);
            request.unwrap_or_else(|| panic!("{findings:?}"))
        };
        let (before, after) = (of("shop", "prod"), of("blog", "dev"));
        let told = check_limits(
            &rules,
            &[&before],
            &[("requests/web/blog.yaml".into(), after)],
            &[],
        );
        assert_eq!(told.len(), 1, "another environment's: {told:?}");
    }

    #[rstest]
    #[case::machine("diskPerMachine: 50Gi", "virtualMachines: [{name: a, diskSize: 51Gi}]", &["environments.dev.limits.diskPerMachine"])]
    #[case::machine_within("diskPerMachine: 50Gi", "virtualMachines: [{name: a, diskSize: 50Gi}]", &[])]
    #[case::machine_default("diskPerMachine: 20Gi", "virtualMachines: [{name: a}]", &["environments.dev.limits.diskPerMachine"])]
    #[case::database("diskPerDatabase: 100Gi", "databases: [{name: a, version: \"17.6\", maxStorage: 1Ti}]", &["environments.dev.limits.diskPerDatabase"])]
    #[case::database_within("diskPerDatabase: 1Ti", "databases: [{name: a, version: \"17.6\", maxStorage: 1024Gi}]", &[])]
    #[case::database_default("diskPerDatabase: 50Gi", "databases: [{name: a, version: \"17.6\"}]", &["environments.dev.limits.diskPerDatabase"])]
    fn a_disk_over_the_limit_is_told_at_its_field(
        #[case] limits: &str,
        #[case] spec: &str,
        #[case] expected: &[&str],
    ) {
        let (request, findings) = checked(&rules(limits, ""), "Project", "shop", "dev", spec);
        assert_eq!(request.is_none(), !expected.is_empty());
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, field) in findings.iter().zip(expected) {
            assert_eq!((finding.code, finding.place.line), (Code::OverLimit, 4));
            assert!(finding.hint.contains(field), "{}", finding.hint);
        }
    }
}
