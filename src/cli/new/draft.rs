//! What a new request is to say, from flags, answers and the rules.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::{Asker, NewArguments};
use crate::cli::disk;
use crate::domain::ids::{Kind, is_dns_label};
use crate::domain::rules::Rules;
use crate::domain::rules::check::check_rules;
use crate::domain::secret::shown;
use crate::domain::tree::RULES_PATH;

/// A request that is about to be written.
pub(super) struct Draft {
    pub(super) root: PathBuf,
    pub(super) rules: Rules,
    kind: Kind,
    name: String,
    team: String,
    environment: String,
    body: Body,
}

/// What only one kind has.
enum Body {
    Project([(&'static str, Vec<String>, &'static str); 3]),
    Cluster {
        version: String,
        pools: Vec<String>,
        allow: Vec<String>,
    },
}

impl Draft {
    pub(super) fn of(arguments: &NewArguments, asker: &mut Asker<'_, '_>) -> anyhow::Result<Self> {
        let Ok(kind) = arguments.kind.parse::<Kind>() else {
            let kinds = Kind::ALL.map(Kind::as_str).join(", ");
            bail!(
                "`{}` is no kind of request; there is {kinds}",
                shown(&arguments.kind)
            );
        };
        refuse_flags_of_others(kind, arguments)?;
        let root = disk::find_root(&arguments.folder)?;
        let bytes = fs::read(root.join(RULES_PATH)).with_context(|| {
            format!(
                "{} is no requests repository: it has no {RULES_PATH}",
                root.display()
            )
        })?;
        let (Some(rules), _) = check_rules(&bytes) else {
            bail!("{RULES_PATH} is not valid; `landfall validate` says why");
        };
        let teams: Vec<&str> = rules.teams.keys().map(|team| team.as_str()).collect();
        let team = asker.choose("team", arguments.team.as_ref(), &teams)?;
        let environments: Vec<&str> = rules.environments.keys().map(|name| name.as_str()).collect();
        let environment = asker.choose("environment", arguments.environment.as_ref(), &environments)?;
        let body = match kind {
            Kind::Project => project(arguments, asker)?,
            Kind::Cluster => cluster(arguments, asker, &rules, &environment)?,
        };
        let draft = Self {
            root,
            rules,
            kind,
            name: arguments.name.clone(),
            team,
            environment,
            body,
        };
        draft.check_names()?;
        Ok(draft)
    }

    /// What is given goes into the file as it is: only plain texts may.
    fn check_names(&self) -> anyhow::Result<()> {
        let of_body: Vec<&String> = match &self.body {
            Body::Project(lists) => lists.iter().flat_map(|(_, names, _)| names).collect(),
            Body::Cluster { pools, .. } => pools.iter().collect(),
        };
        for name in [&self.name, &self.team, &self.environment]
            .into_iter()
            .chain(of_body)
        {
            if !is_dns_label(name, 40) {
                bail!(
                    "`{}` is not a name: up to 40 lower-case letters, digits and hyphens, with a letter or digit at \
                     both ends",
                    shown(name)
                );
            }
        }
        if let Body::Cluster { version, allow, .. } = &self.body {
            for text in std::iter::once(version).chain(allow) {
                if !text.bytes().all(|b| b.is_ascii_hexdigit() || b".:/".contains(&b)) {
                    bail!(
                        "`{}` is neither a version such as 1.33 nor addresses such as 203.0.113.0/24",
                        shown(text)
                    );
                }
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> String {
        format!("requests/{}/{}.yaml", self.team, self.name)
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "apiVersion: landfall.dev/v1\nkind: {}\nmetadata:\n  name: {}\n  team: {}\nspec:\n  environment: \
             {}\n  deletionPolicy: Retain # Retain, Snapshot or Delete: what becomes of it when this file is deleted\n",
            self.kind, self.name, self.team, self.environment
        );
        match &self.body {
            Body::Project(lists) => {
                for (list, names, fields) in lists.iter().filter(|(_, names, _)| !names.is_empty()) {
                    text.push_str(&format!("  {list}:\n"));
                    for name in names {
                        text.push_str(&format!("    - name: {name}\n{fields}"));
                    }
                }
            }
            Body::Cluster {
                version,
                pools,
                allow,
            } => {
                text.push_str(&format!(
                    "  version: \"{version}\" # goes up one minor at a time, and never down\n  nodePools:\n"
                ));
                for name in pools {
                    text.push_str(&format!("    - name: {name}\n{POOL}"));
                }
                if allow.is_empty() {
                    text.push_str(PRIVATE);
                } else {
                    text.push_str("  apiServer:\n    access: Public\n    allowedCidrs:\n");
                    for block in allow {
                        text.push_str(&format!("      - \"{block}\"\n"));
                    }
                }
            }
        }
        text
    }
}

/// A flag that the kind has no use for is the person's slip, and not dropped.
fn refuse_flags_of_others(kind: Kind, arguments: &NewArguments) -> anyhow::Result<()> {
    let flags = [
        (
            Kind::Project,
            "virtual-machine",
            !arguments.virtual_machines.is_empty(),
        ),
        (Kind::Project, "database", !arguments.databases.is_empty()),
        (Kind::Project, "storage", !arguments.storage.is_empty()),
        (Kind::Cluster, "version", arguments.version.is_some()),
        (Kind::Cluster, "node-pool", !arguments.node_pools.is_empty()),
        (Kind::Cluster, "allow", !arguments.allow.is_empty()),
    ];
    for (of, flag, is_given) in flags {
        if is_given && of != kind {
            bail!("a {kind} has no --{flag}");
        }
    }
    Ok(())
}

fn project(arguments: &NewArguments, asker: &mut Asker<'_, '_>) -> anyhow::Result<Body> {
    let mut lists = [
        ("virtualMachines", arguments.virtual_machines.clone(), MACHINE),
        ("databases", arguments.databases.clone(), DATABASE),
        ("storage", arguments.storage.clone(), STORAGE),
    ];
    if lists.iter().all(|(_, names, _)| names.is_empty()) {
        for (list, names, _) in &mut lists {
            let answer = asker.ask(&format!("Names of `{list}`, with spaces between them? (none)"))?;
            names.extend(words(answer));
        }
    }
    if lists.iter().all(|(_, names, _)| names.is_empty()) {
        bail!("a project asks for something: give --virtual-machine, --database or --storage with a name");
    }
    Ok(Body::Project(lists))
}

fn cluster(
    arguments: &NewArguments,
    asker: &mut Asker<'_, '_>,
    rules: &Rules,
    environment: &str,
) -> anyhow::Result<Body> {
    let environment = rules
        .environments
        .iter()
        .find(|(name, _)| name.as_str() == environment);
    let offered = environment.map(|(_, environment)| &environment.cluster_versions);
    let minor = |version: &&String| {
        version
            .strip_prefix("1.")
            .and_then(|minor| minor.parse::<u32>().ok())
    };
    let newest = offered.into_iter().flatten().max_by_key(minor).cloned();
    let version = match arguments.version.clone().or(newest) {
        Some(version) => version,
        None => match asker.ask("Which minor version of Kubernetes, such as 1.33?")? {
            Some(version) => version,
            None => bail!("give --version, a minor version of Kubernetes such as 1.33"),
        },
    };
    let mut pools = arguments.node_pools.clone();
    if pools.is_empty() {
        pools.push("workers".into());
    }
    let mut allow = arguments.allow.clone();
    if allow.is_empty() {
        allow.extend(words(asker.ask(
            "Addresses that reach the API server from outside, such as 203.0.113.0/24? (none: it is private)",
        )?));
    }
    Ok(Body::Cluster {
        version,
        pools,
        allow,
    })
}

fn words(answer: Option<String>) -> Vec<String> {
    let words = answer.iter().flat_map(|answer| answer.split_whitespace());
    words.map(String::from).collect()
}

const MACHINE: &str = "      size: Small # Small, Medium or Large\n      image: Ubuntu2404\n";
const DATABASE: &str =
    "      engine: PostgreSQL # or MySQL; cannot be changed later\n      version: \"17.6\"\n";
const STORAGE: &str = "      tier: Hot # or Cool, for what is seldom read\n";
const POOL: &str = "      size: Small # Small, Medium or Large\n      min: 2\n      max: 5\n";
const PRIVATE: &str = "  apiServer:\n    access: Private # or Public, with `allowedCidrs`\n";
