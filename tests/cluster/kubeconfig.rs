//! kubectl reads the kubeconfig, and means what Landfall meant.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{authority, cluster};

const ENDPOINT: &str = "https://0123456789abcdef.gr7.eu-west-1.eks.amazonaws.com";

fn kubectl() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|program| program.is_file())
        .expect("kubectl is missing: run scripts/test, or install the Debian package kubernetes-client")
}

/// What kubectl says that a kubeconfig is, with nothing of the environment: a kubectl that would sign in first, to ask
/// the cluster for its version, finds no program to do that with.
fn viewed(home: &Path, kubeconfig: &str, arguments: &[&str]) -> Value {
    let file = home.join("config");
    std::fs::write(&file, kubeconfig).unwrap();
    let output = Command::new(kubectl())
        .args(["config", "view", "--output", "json", "--kubeconfig"])
        .arg(&file)
        .args(arguments)
        .env_clear()
        .env("PATH", "")
        .env("HOME", home)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn kubectl_reads_the_kubeconfig_as_it_was_meant_and_finds_no_secret() {
    let cluster = cluster(ENDPOINT, &authority("authority.pem"));
    let home = tempfile::tempdir().unwrap();
    let mut raw = viewed(home.path(), &cluster.kubeconfig(), &["--raw"]);
    // kubectl before 1.22 does not know the field, and leaves it out.
    let exec = raw["users"][0]["user"]["exec"].as_object_mut().unwrap();
    let interactive = exec
        .remove("interactiveMode")
        .unwrap_or_else(|| json!("IfAvailable"));
    assert_eq!(interactive, "IfAvailable");
    exec.retain(|_, value| !value.is_null() && *value != json!(false));

    let name = cluster.name();
    let expected = json!({
        "kind": "Config",
        "apiVersion": "v1",
        "preferences": {},
        "clusters": [{"name": name, "cluster": {
            "server": ENDPOINT,
            "certificate-authority-data": authority("authority.pem"),
        }}],
        "users": [{"name": name, "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "aws",
            "args": ["--region", "eu-west-1", "eks", "get-token", "--cluster-name", name, "--output", "json"],
        }}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    });
    raw.as_object_mut()
        .unwrap()
        .entry("preferences")
        .or_insert(json!({}));
    assert_eq!(raw, expected);

    // What kubectl takes for a secret it would write as REDACTED.
    let shown = viewed(home.path(), &cluster.kubeconfig(), &[]).to_string();
    assert!(
        !shown.contains("REDACTED") && shown.contains("DATA+OMITTED"),
        "{shown}"
    );
}
