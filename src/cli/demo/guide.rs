//! `landfall demo --interactive`: the scene is set and nobody acts. What is printed is what a visitor types and clicks
//! to live through the story.

use serde_json::json;

use super::person::Person;
use super::scene::Scene;
use super::story::free_name;
use super::teller::Teller;

/// Says where everything is, who there is, and what to type and to click, in order.
pub(super) async fn show(scene: &Scene, teller: &mut Teller<'_>) -> anyhow::Result<()> {
    let name = free_name(scene).await?;
    let commands = commands(scene, &name)?;
    let project = scene.forge.join(&scene.path)?;
    let (dana, ada) = (&scene.developer, &scene.admin);
    let known = |person: &Person, role: &str| json!({ "username": person.username, "role": role, "token": person.token().reveal() });
    teller.event(
        "ready",
        &format!(
            "A sandbox forge is up at {}, and Landfall works for {project}",
            scene.forge
        ),
        json!({
            "forge": scene.forge.as_str(),
            "project": project.as_str(),
            "people": [known(dana, "developer"), known(ada, "admin")],
            "commands": commands,
        }),
    )?;
    teller.line("")?;
    teller.line("These people have accounts there. A token is the password, for git and for the pages:")?;
    teller.line("")?;
    for (person, role) in [(dana, "asks"), (ada, "signs off")] {
        let token = person.token().reveal();
        teller.line(&format!("    {:<6} {token}   {role}", person.username))?;
    }
    teller.line("")?;
    teller.line("1. Be dana, in another terminal and in any folder. The last command opens a merge request, and prints its address:")?;
    teller.line("")?;
    for command in &commands {
        teller.line(&format!("    {command}"))?;
    }
    teller.line("")?;
    teller.line("2. Open that address in a browser: Landfall comments the plan there within seconds. Pages do not reload by themselves.")?;
    teller.line("3. Be ada: Sign in there with her token, read the plan, press Approve. Once the comment says \"Ready to merge\", press Merge.")?;
    teller.line("4. The same page shows the progress and then, in a new comment, the result: names, addresses, and where each secret is kept.")?;
    teller.line("")?;
    teller.line("Ctrl-C stops all of it.")?;
    Ok(())
}

/// What dana types, word for word.
fn commands(scene: &Scene, name: &str) -> anyhow::Result<Vec<String>> {
    let dana = &scene.developer;
    let mut clone = scene.forge.join(&format!("{}.git", scene.path))?;
    // Only for this forge: its tokens open nothing beyond this machine.
    let with_credentials = clone
        .set_username(&dana.username)
        .and_then(|()| clone.set_password(Some(dana.token().reveal())));
    if with_credentials.is_err() {
        anyhow::bail!("{} takes no user name", scene.forge);
    }
    let landfall = std::env::current_exe()?;
    let folder = format!("{}-{name}", dana.username);
    Ok(vec![
        format!("git clone {clone} {folder}"),
        format!("cd {folder}"),
        format!("git config user.name {}", dana.username),
        format!("git config user.email {}", dana.email()),
        format!("git switch -c {name}"),
        format!(
            "{} new Project {name} --team web-team --virtual-machine web --database orders --storage pictures",
            quoted(&landfall.display().to_string())
        ),
        format!("git add requests/web-team/{name}.yaml"),
        format!("git commit -m \"Ask for {name}\""),
        format!("git push -o merge_request.create -o merge_request.target=main origin {name}"),
    ])
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_path_is_one_word() {
        for (word, expected) in [
            ("/usr/bin/landfall", "/usr/bin/landfall"),
            ("/My Tools/landfall", "'/My Tools/landfall'"),
            ("/it's/landfall", "'/it'\\''s/landfall'"),
            ("/a;b/$(c)", "'/a;b/$(c)'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
