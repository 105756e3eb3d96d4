//! Files and commits, for whoever follows a link of a comment.

use super::View;
use super::html::Page;
use super::merge_request::changes;
use crate::sandbox::failure::Failure;
use crate::sandbox::state::World;

/// The longest file that is shown, in bytes.
const LONGEST: usize = 512 * 1024;

/// A file at a branch, a tag or a commit, with a number to link to at each line. Names of branches have slashes, so
/// the path says only together with the repository where the name ends.
pub(super) async fn blob(view: &View<'_>, id: u64, rest: &str) -> Result<String, Failure> {
    let repository = view.core.repository(id);
    for (at, _) in rest.match_indices('/') {
        let (name, path) = (&rest[..at], &rest[at + 1..]);
        let Some(commit) = repository.resolve(name).await? else {
            continue;
        };
        let Some((_, bytes)) = repository.file(&commit, path).await? else {
            continue;
        };
        let mut page = begin(view, id, path)?;
        page.element("h1", path);
        page.raw("<p class=\"dim\">at ");
        commit_link(view, &mut page, id, &commit)?;
        page.raw("</p>");
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.len() <= LONGEST && !text.contains('\0') => lines(&mut page, text),
            _ => page.element("p", &format!("Not shown: {} bytes, or no text.", bytes.len())),
        }
        return Ok(page.finish());
    }
    Err(Failure::not_found("File"))
}

fn lines(page: &mut Page, text: &str) {
    page.raw("<pre class=\"lines\">");
    for (line, number) in text.lines().zip(1..) {
        page.raw("<span id=\"");
        page.text(&format!("L{number}"));
        page.raw("\">");
        page.element_with("a", "href", &format!("#L{number}"), &number.to_string());
        page.text(line);
        page.raw("</span>");
    }
    page.raw("</pre>");
}

/// A commit with what it changes.
pub(super) async fn commit(view: &View<'_>, id: u64, name: &str) -> Result<String, Failure> {
    let repository = view.core.repository(id);
    let missing = || Failure::not_found("Commit");
    let found = repository.resolve(name).await?.ok_or_else(missing)?;
    let commit = repository.commit(&found).await?.ok_or_else(missing)?;
    let before = match commit.parents.first() {
        Some(parent) => parent.clone(),
        None => repository.empty_tree().await?,
    };
    let files = repository.diff(&before, &commit.id).await?;
    let mut page = begin(view, id, commit.title())?;
    page.element("h1", commit.title());
    page.element_with(
        "p",
        "class",
        "dim",
        &format!("{} by {}, {}", commit.id, commit.author_name, commit.authored),
    );
    page.element("pre", &commit.message);
    changes(&mut page, &files);
    Ok(page.finish())
}

/// The commits of a branch, newest first.
pub(super) async fn commits(view: &View<'_>, id: u64, name: &str) -> Result<String, Failure> {
    let repository = view.core.repository(id);
    let found = repository.resolve(name).await?;
    let found = found.ok_or_else(|| Failure::not_found("Commit"))?;
    let commits = repository.log(&[&found, "--"], 100).await?;
    let mut page = begin(view, id, name)?;
    page.element("h1", &format!("Commits of {name}"));
    page.raw("<table>");
    for commit in commits {
        page.raw("<tr><td>");
        commit_link(view, &mut page, id, &commit.id)?;
        page.raw("</td>");
        page.element("td", commit.title());
        page.element("td", &commit.author_name);
        page.raw("</tr>");
    }
    page.raw("</table>");
    Ok(page.finish())
}

fn begin(view: &View<'_>, id: u64, title: &str) -> Result<Page, Failure> {
    let world = view.core.world();
    let address = project_address(view, &world, id)?;
    let mut page = view.begin(&world, title);
    page.raw("<p class=\"dim\">");
    page.link(&address, address.trim_start_matches('/'));
    page.raw("</p>");
    Ok(page)
}

fn commit_link(view: &View<'_>, page: &mut Page, id: u64, commit: &str) -> Result<(), Failure> {
    let address = project_address(view, &view.core.world(), id)?;
    page.link(
        &format!("{address}/-/commit/{commit}"),
        &commit[..commit.len().min(8)],
    );
    Ok(())
}

fn project_address(view: &View<'_>, world: &World, id: u64) -> Result<String, Failure> {
    let project = world.projects.get(&id);
    let project = project.ok_or_else(|| Failure::not_found("Project"))?;
    Ok(view.project_address(world, project))
}
