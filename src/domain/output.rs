//! Outputs: what a resource is reached by. Some names mean something to whoever reads the result; the others are values.

use std::collections::BTreeMap;

/// The page about a resource in the cloud's own console.
pub const CONSOLE: &str = "console";
/// The command that shows the user and the password of a database.
pub const PASSWORD_COMMAND: &str = "passwordCommand";
/// The command that opens a shell in a machine.
pub const SHELL_COMMAND: &str = "shellCommand";
/// The command that lets kubectl into a cluster.
pub const KUBECONFIG: &str = "kubeconfig";
/// What the last snapshot of a database is called, after a deletion.
pub const SNAPSHOT: &str = "snapshot";
/// What was not looked at, where something was not.
pub const NOT_CHECKED: &str = "notChecked";
/// What people call what a resource is made by, where the cloud's own id is no name.
pub const STACK: &str = "stack";

/// What an output is for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// What people call the resource: told instead of the cloud's own id.
    Name,
    /// The address of a page about it.
    Page,
    /// Something to look at, or to copy.
    Value,
    /// What to do to reach it: these words, and then what there is to copy.
    Way(&'static str),
    /// A sentence that has to be read.
    Note,
    /// For programs only.
    Internal,
}

/// The names that mean something, in the order in which people want to know.
const KNOWN: &[(&str, Meaning)] = &[
    (STACK, Meaning::Name),
    ("path", Meaning::Name),
    (CONSOLE, Meaning::Page),
    ("webUrl", Meaning::Page),
    ("endpoint", Meaning::Value),
    ("port", Meaning::Value),
    ("databaseName", Meaning::Value),
    ("database", Meaning::Value),
    ("username", Meaning::Value),
    ("secretArn", Meaning::Value),
    ("bucket", Meaning::Value),
    ("instanceId", Meaning::Value),
    ("clusterName", Meaning::Value),
    ("version", Meaning::Value),
    (SNAPSHOT, Meaning::Value),
    (
        "clientSecurityGroup",
        Meaning::Way("it takes connections over TLS, from members of the security group "),
    ),
    (
        PASSWORD_COMMAND,
        Meaning::Way("its user and password are shown by "),
    ),
    (
        SHELL_COMMAND,
        Meaning::Way("a shell, by the AWS CLI with its Session Manager plugin: "),
    ),
    (KUBECONFIG, Meaning::Way("access for kubectl, by the AWS CLI: ")),
    (NOT_CHECKED, Meaning::Note),
    ("certificateAuthority", Meaning::Internal),
];

/// An output, and what it is for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// What it is.
    pub meaning: Meaning,
}

/// The outputs in the order in which people want to know them; those of unknown names behind, by name.
#[must_use]
pub fn in_order(outputs: &BTreeMap<String, String>) -> Vec<Output<'_>> {
    let place = |name: &str| KNOWN.iter().position(|(known, _)| *known == name);
    let mut ordered: Vec<(usize, Output<'_>)> = outputs
        .iter()
        .map(|(name, value)| {
            let place = place(name);
            let known = place.and_then(|place| KNOWN.get(place));
            let output = Output {
                name,
                value,
                meaning: known.map_or(Meaning::Value, |(_, meaning)| *meaning),
            };
            (place.unwrap_or(KNOWN.len()), output)
        })
        .collect();
    ordered.sort_by_key(|(place, output)| (*place, output.name));
    ordered.into_iter().map(|(_, output)| output).collect()
}

/// What people call the resource; its id in the cloud where no output says.
#[must_use]
pub fn called<'a>(external_id: &'a str, outputs: &'a BTreeMap<String, String>) -> &'a str {
    let mut names = in_order(outputs).into_iter();
    names
        .find(|output| output.meaning == Meaning::Name && !output.value.is_empty())
        .map_or(external_id, |output| output.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(names: &[&str]) -> BTreeMap<String, String> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), format!("the {name}")))
            .collect()
    }

    #[test]
    fn what_people_want_first_comes_first_and_what_nobody_knows_last() {
        let outputs = outputs(&[
            "a",
            "secretArn",
            "port",
            "console",
            "databaseName",
            "b",
            "endpoint",
            "stack",
        ]);
        let names: Vec<&str> = in_order(&outputs).into_iter().map(|output| output.name).collect();
        assert_eq!(
            names,
            [
                "stack",
                "console",
                "endpoint",
                "port",
                "databaseName",
                "secretArn",
                "a",
                "b"
            ]
        );
    }

    #[test]
    fn a_resource_is_called_by_its_name_and_else_by_its_id() {
        assert_eq!(called("42", &outputs(&["path", "endpoint"])), "the path");
        assert_eq!(called("42", &outputs(&["endpoint"])), "42");
        assert_eq!(
            called("42", &BTreeMap::from([("path".into(), String::new())])),
            "42"
        );
    }
}
