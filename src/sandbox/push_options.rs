//! What a push asks for besides moving references: `git push -o merge_request.create` and the like.

use serde_json::{Map, json};

use super::auth::Actor;
use super::core::Core;
use super::deliveries;
use super::failure::Failure;
use super::git::ZERO;
use super::http_backend::merge_request_link;
use super::merge_requests::Place;
use super::opening::{Opening, commit_of_head, describe, open};
use super::payloads::MergeRequestAct;
use super::push::RefChange;
use super::state::{MergeRequestState, Version};

/// The options of one push that are about merge requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    create: bool,
    target: Option<String>,
    title: Option<String>,
    description: Option<String>,
    draft: bool,
    squash: Option<bool>,
    remove_source_branch: Option<bool>,
    labels: Vec<String>,
    any: bool,
}

impl Options {
    fn read(options: &[String]) -> Self {
        let mut read = Self::default();
        for option in options {
            let Some(rest) = option.strip_prefix("merge_request.") else {
                continue;
            };
            read.any = true;
            let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
            // GitLab lets a description break lines with a written-out `\n`.
            let text = || Some(value.replace("\\n", "\n"));
            match key {
                "create" => read.create = value != "false",
                "target" => read.target = text(),
                "title" => read.title = text(),
                "description" => read.description = text(),
                "draft" => read.draft = value != "false",
                "squash" => read.squash = Some(value != "false"),
                "remove_source_branch" => read.remove_source_branch = Some(value != "false"),
                "label" => read.labels.push(value.to_owned()),
                _ => {}
            }
        }
        read
    }
}

/// Opens or edits the merge requests of the pushed branches, and says what git shall print. The project's lock
/// must be held.
pub(super) async fn obey(
    core: &Core,
    actor: Actor,
    project: u64,
    changes: &[RefChange],
    options: &[String],
) -> Result<Vec<String>, Failure> {
    let options = Options::read(options);
    let mut told = Vec::new();
    for change in changes {
        let Some(branch) = change.branch().filter(|_| change.new != ZERO) else {
            continue;
        };
        let default = {
            let world = core.world();
            world
                .projects
                .get(&project)
                .map(|project| project.default_branch.clone())
                .unwrap_or_default()
        };
        let target = options.target.clone().unwrap_or_else(|| default.clone());
        let found = known(core, project, branch, options.create.then_some(target.as_str()));
        let place = match found {
            Some(iid) => {
                let place = Place { project, iid };
                if options.any
                    && let Err(failure) = edit(core, actor, place, &options).await
                {
                    told.push(format!("WARNINGS: {}", failure.body["message"]));
                }
                Some(place)
            }
            None if options.create => {
                let opening = Opening {
                    source_project: project,
                    source_branch: branch.to_owned(),
                    target_project: project,
                    target_branch: target,
                    title: options.title.clone(),
                    description: options.description.clone(),
                    draft: options.draft,
                    labels: options.labels.clone(),
                    squash: options.squash,
                    remove_source_branch: options.remove_source_branch,
                };
                match open(core, actor, opening).await {
                    Ok(iid) => Some(Place { project, iid }),
                    Err(failure) => {
                        told.push(format!("WARNINGS: {}", failure.body["message"]));
                        None
                    }
                }
            }
            None => None,
        };
        if let Some(link) = place.and_then(|place| merge_request_link(core, project, place.iid)) {
            told.push(String::new());
            told.push(format!("View merge request for {branch}:"));
            told.push(format!("  {link}"));
            told.push(String::new());
        } else if branch != default && found.is_none() && !options.create {
            let path = core.path_of(project);
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("merge_request[source_branch]", branch)
                .finish();
            told.push(String::new());
            told.push(format!("To create a merge request for {branch}, visit:"));
            told.push(format!(
                "  {}",
                core.link(&format!("{path}/-/merge_requests/new?{query}"))
            ));
            told.push(String::new());
        }
    }
    Ok(told)
}

/// The open merge request from a branch; with `target`, that one before others.
fn known(core: &Core, project: u64, branch: &str, target: Option<&str>) -> Option<u64> {
    let world = core.world();
    let project = world.projects.get(&project)?;
    let mut open = project.merge_requests.values().filter(|one| {
        one.state == MergeRequestState::Opened
            && one.source_project_id == project.id
            && one.source_branch == branch
    });
    match target {
        Some(target) => open
            .clone()
            .find(|one| one.target_branch == target)
            .or_else(|| open.next()),
        None => open.next(),
    }
    .map(|one| one.iid)
}

async fn edit(core: &Core, actor: Actor, place: Place, options: &Options) -> Result<(), Failure> {
    let (head, old_target) = place.read(&core.world(), |_, one| {
        (one.head().to_owned(), one.target_branch.clone())
    })?;
    let target = options.target.clone().filter(|target| *target != old_target);
    let version = match &target {
        None => None,
        Some(target) => {
            if core.repository(place.project).branch(target).await?.is_none() {
                return Err(Failure::bad_request(format!(
                    "Target branch \"{target}\" does not exist"
                )));
            }
            Some(describe(core, place.project, &head, target).await?)
        }
    };
    let last = commit_of_head(core, place.project, place.iid).await?;
    let now = core.now();
    core.change(|world| {
        let version_id = world.next("version");
        let one = place.write(world)?;
        let mut changes = Map::new();
        let mut title = options.title.clone().unwrap_or_else(|| one.title.clone());
        if options.draft && !title.to_ascii_lowercase().starts_with("draft:") {
            title = format!("Draft: {title}");
        }
        let description = options
            .description
            .clone()
            .unwrap_or_else(|| one.description.clone());
        let target = target.unwrap_or(old_target);
        for (key, field, value) in [
            ("title", &mut one.title, title),
            ("description", &mut one.description, description),
            ("target_branch", &mut one.target_branch, target),
        ] {
            if *field != value {
                changes.insert(key.to_owned(), json!({"previous": field, "current": value}));
                *field = value;
            }
        }
        if let Some(version) = version {
            one.versions.push(Version {
                id: version_id,
                ..version
            });
        }
        if changes.is_empty() {
            return Ok(());
        }
        one.updated_at = now;
        let act = MergeRequestAct {
            changes: changes.into(),
            ..MergeRequestAct::plain(actor.0, "update")
        };
        deliveries::merge_request(core, world, place.project, place.iid, last.as_ref(), &act);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options_are_read() {
        let given = [
            "merge_request.create",
            "merge_request.title=A = b",
            "merge_request.description=a\\nb",
            "ci.skip",
        ];
        let read = Options::read(&given.map(str::to_owned));
        assert!(read.create && read.any && !read.draft);
        assert_eq!(read.title.as_deref(), Some("A = b"));
        assert_eq!(read.description.as_deref(), Some("a\nb"));
    }
}
