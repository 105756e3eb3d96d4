//! `landfall new`: writes a first request, valid by the rules of the requests repository.

use std::fs;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::Exit;
use super::findings::{self, Format, Look};
use crate::domain::finding::any_error;
use crate::domain::request::check::{ChangedFile, check_file};
use crate::domain::tree::Mode;

mod draft;

use draft::Draft;

/// `landfall new KIND NAME`
#[derive(Debug, clap::Args)]
pub struct NewArguments {
    /// The kind of request: `Project` or `Cluster`.
    pub kind: String,
    /// Its name: lower-case letters, digits and hyphens. It cannot be changed later.
    pub name: String,
    /// The team that asks; not needed if there is one only.
    #[arg(long)]
    pub team: Option<String>,
    /// Where; not needed if there is one environment only.
    #[arg(long)]
    pub environment: Option<String>,
    /// Of a project: a machine of this name; may be given several times.
    #[arg(long = "virtual-machine", value_name = "NAME")]
    pub virtual_machines: Vec<String>,
    /// Of a project: a database of this name; may be given several times.
    #[arg(long = "database", value_name = "NAME")]
    pub databases: Vec<String>,
    /// Of a project: a storage of this name; may be given several times.
    #[arg(long = "storage", value_name = "NAME")]
    pub storage: Vec<String>,
    /// Of a cluster: the minor version of Kubernetes; the newest on offer if none is given.
    #[arg(long, value_name = "1.N")]
    pub version: Option<String>,
    /// Of a cluster: a node pool of this name; may be given several times. `workers` if none is given.
    #[arg(long = "node-pool", value_name = "NAME")]
    pub node_pools: Vec<String>,
    /// Of a cluster: addresses that reach its API server; may be given several times. It is private if none are given.
    #[arg(long = "allow", value_name = "CIDR")]
    pub allow: Vec<String>,
    /// The requests repository.
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// Writes `requests/<team>/<name>.yaml`, and says so. What the arguments leave open is asked for, if there is somebody
/// to ask: pass the input of a terminal.
///
/// # Errors
/// If something cannot be read or written.
pub fn run(
    arguments: &NewArguments,
    input: Option<&mut dyn BufRead>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let draft = match Draft::of(
        arguments,
        &mut Asker {
            input,
            err: &mut *err,
        },
    ) {
        Ok(draft) => draft,
        Err(error) => {
            writeln!(err, "error: {error:#}")?;
            return Ok(Exit::UserFault);
        }
    };
    let text = draft.text();
    let file = ChangedFile {
        path: &draft.path(),
        mode: Mode::File,
        size: text.len() as u64,
        bytes: Some(text.as_bytes()),
        before: None,
    };
    let (_, found) = check_file(&draft.rules, &file);
    if any_error(&found) {
        findings::print(Format::Text, Look::Lines, &found, 1, &|_| None, err)?;
        return Ok(Exit::UserFault);
    }
    let path = draft.root.join(file.path);
    if path.symlink_metadata().is_ok() {
        writeln!(
            err,
            "error: {} is there already; take another name, or edit it",
            path.display()
        )?;
        return Ok(Exit::UserFault);
    }
    write_new(&path, &text)?;
    writeln!(out, "{}", path.display())?;
    Ok(Exit::Fine)
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut file = fs::File::create_new(path).with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

struct Asker<'input, 'err> {
    input: Option<&'input mut dyn BufRead>,
    err: &'err mut dyn Write,
}

impl Asker<'_, '_> {
    /// The answer to a question; nothing if nobody is there, or nothing is said.
    fn ask(&mut self, question: &str) -> anyhow::Result<Option<String>> {
        let Some(input) = self.input.as_mut() else {
            return Ok(None);
        };
        write!(self.err, "{question} ")?;
        self.err.flush()?;
        let mut line = String::new();
        input.read_line(&mut line)?;
        Ok(Some(line.trim().to_string()).filter(|answer| !answer.is_empty()))
    }

    /// The choice that was given; else the only one there is; else the one that is asked for.
    fn choose(&mut self, what: &str, given: Option<&String>, known: &[&str]) -> anyhow::Result<String> {
        if let Some(given) = given {
            return Ok(given.clone());
        }
        if let [only] = known {
            return Ok((*only).to_string());
        }
        let choices = known.join(", ");
        match self.ask(&format!("Which {what}? ({choices})"))? {
            Some(answer) => Ok(answer),
            None => bail!("give --{what}, one of: {choices}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments: {dev: {provider: Simulator, versions: {cluster: [\"1.9\", \"1.33\"]}}}
teams: {web-team: {}, data-team: {}}
roles: {admin: {users: [{id: 1, name: root}]}}
";

    struct Told {
        exit: Exit,
        out: String,
        err: String,
    }

    fn new(folder: &Path, name: &str, flags: &[(&str, &str)], answers: Option<&str>) -> Told {
        fs::write(folder.join("landfall.yaml"), RULES).expect("written");
        let of = |wanted: &str| -> Vec<String> {
            flags
                .iter()
                .filter(|(flag, _)| *flag == wanted)
                .map(|(_, value)| value.to_string())
                .collect()
        };
        let arguments = NewArguments {
            kind: of("kind").pop().unwrap_or_else(|| "Project".into()),
            name: name.into(),
            team: of("team").pop(),
            environment: of("environment").pop(),
            virtual_machines: of("virtual-machine"),
            databases: of("database"),
            storage: of("storage"),
            version: of("version").pop(),
            node_pools: of("node-pool"),
            allow: of("allow"),
            folder: folder.into(),
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = answers.map(|answers| std::io::Cursor::new(answers.to_string()));
        let input = input.as_mut().map(|input| input as &mut dyn BufRead);
        let exit = run(&arguments, input, &mut out, &mut err).expect("it can be written");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Told {
            exit,
            out: text(out),
            err: text(err),
        }
    }

    #[test]
    fn flags_alone_make_a_valid_request() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [
            ("team", "web-team"),
            ("virtual-machine", "web"),
            ("database", "orders"),
            ("storage", "files"),
        ];
        let told = new(folder.path(), "shop", &flags, None);
        assert_eq!((told.exit, told.err.as_str()), (Exit::Fine, ""));
        assert!(
            told.out.ends_with("requests/web-team/shop.yaml\n"),
            "{}",
            told.out
        );
        let text = fs::read_to_string(folder.path().join("requests/web-team/shop.yaml")).expect("a request");
        insta::assert_snapshot!(text, @r#"
        apiVersion: landfall.dev/v1
        kind: Project
        metadata:
          name: shop
          team: web-team
        spec:
          environment: dev
          deletionPolicy: Retain # Retain, Snapshot or Delete: what becomes of it when this file is deleted
          virtualMachines:
            - name: web
              size: Small # Small, Medium or Large
              image: Ubuntu2404
          databases:
            - name: orders
              engine: PostgreSQL # or MySQL; cannot be changed later
              version: "17.6"
          storage:
            - name: files
              tier: Hot # or Cool, for what is seldom read
        "#);
    }

    #[test]
    fn flags_alone_make_a_valid_cluster() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [
            ("kind", "Cluster"),
            ("team", "web-team"),
            ("node-pool", "workers"),
            ("allow", "203.0.113.0/24"),
        ];
        let told = new(folder.path(), "main", &flags, None);
        assert_eq!((told.exit, told.err.as_str()), (Exit::Fine, ""));
        let text = fs::read_to_string(folder.path().join("requests/web-team/main.yaml")).expect("a request");
        insta::assert_snapshot!(text, @r#"
        apiVersion: landfall.dev/v1
        kind: Cluster
        metadata:
          name: main
          team: web-team
        spec:
          environment: dev
          deletionPolicy: Retain # Retain, Snapshot or Delete: what becomes of it when this file is deleted
          version: "1.33" # goes up one minor at a time, and never down
          nodePools:
            - name: workers
              size: Small # Small, Medium or Large
              min: 2
              max: 5
          apiServer:
            access: Public
            allowedCidrs:
              - "203.0.113.0/24"
        "#);
    }

    #[test]
    fn a_cluster_about_which_little_is_said_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [("kind", "Cluster"), ("team", "web-team")];
        let told = new(folder.path(), "main", &flags, None);
        assert_eq!((told.exit, told.err.as_str()), (Exit::Fine, ""));
        let text = fs::read_to_string(folder.path().join("requests/web-team/main.yaml")).expect("a request");
        assert!(
            text.contains("- name: workers") && text.contains("access: Private"),
            "{text}"
        );
    }

    #[test]
    fn flags_of_another_kind_are_not_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [("kind", "Cluster"), ("team", "web-team"), ("database", "orders")];
        let told = new(folder.path(), "main", &flags, None);
        assert_eq!(told.exit, Exit::UserFault);
        assert_eq!(told.err, "error: a Cluster has no --database\n");
        let flags = [
            ("team", "web-team"),
            ("storage", "files"),
            ("allow", "203.0.113.0/24"),
        ];
        let told = new(folder.path(), "main", &flags, None);
        assert_eq!(told.err, "error: a Project has no --allow\n");
    }

    #[test]
    fn what_is_left_open_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = new(folder.path(), "shop", &[], Some("data-team\n\norders users\n\n"));
        assert_eq!(told.exit, Exit::Fine, "{}", told.err);
        assert!(
            told.err.starts_with("Which team? (data-team, web-team) "),
            "{}",
            told.err
        );
        let text = fs::read_to_string(folder.path().join("requests/data-team/shop.yaml")).expect("a request");
        assert!(
            text.contains("- name: orders") && text.contains("- name: users"),
            "{text}"
        );
    }

    #[test]
    fn nobody_to_ask_is_told_which_flag_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = new(folder.path(), "shop", &[("storage", "files")], None);
        assert_eq!(
            (told.exit, told.err.as_str()),
            (
                Exit::UserFault,
                "error: give --team, one of: data-team, web-team\n"
            )
        );
    }

    #[test]
    fn a_name_cannot_smuggle_yaml_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [("team", "web-team"), ("storage", "files\n      tier: Cool")];
        assert_eq!(new(folder.path(), "shop", &flags, None).exit, Exit::UserFault);
        let flags = [("team", "../../etc"), ("storage", "files")];
        assert_eq!(new(folder.path(), "shop", &flags, None).exit, Exit::UserFault);
        let flags = [
            ("kind", "Cluster"),
            ("team", "web-team"),
            ("allow", "1\"\n  x: \""),
        ];
        assert_eq!(new(folder.path(), "shop", &flags, None).exit, Exit::UserFault);
        let flags = [
            ("kind", "Cluster"),
            ("team", "web-team"),
            ("version", "1\"\n  x: \""),
        ];
        assert_eq!(new(folder.path(), "shop", &flags, None).exit, Exit::UserFault);
        assert!(!folder.path().join("requests").exists());
    }

    #[test]
    fn what_the_rules_do_not_know_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [
            ("team", "web-team"),
            ("environment", "prod"),
            ("storage", "files"),
        ];
        let told = new(folder.path(), "shop", &flags, None);
        assert_eq!(told.exit, Exit::UserFault);
        assert!(told.err.contains("error[unknown-environment]"), "{}", told.err);
        assert!(!folder.path().join("requests").exists());
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let flags = [("team", "web-team"), ("storage", "files")];
        assert_eq!(new(folder.path(), "shop", &flags, None).exit, Exit::Fine);
        let told = new(folder.path(), "shop", &flags, None);
        assert_eq!(told.exit, Exit::UserFault);
        assert!(told.err.contains("is there already"), "{}", told.err);
    }
}
