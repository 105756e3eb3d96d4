//! What is fuzzed: one function a target, bytes in, nothing out. A function panics if what it calls does, or answers
//! what it never may. `tests/fuzz.rs` calls the same functions with the corpus and with made-up input, on stable.

mod markdown;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use landfall::cli::findings::{Format, Look, print};
use landfall::domain::command::{self, Command};
use landfall::domain::finding::{Finding, any_error};
use landfall::domain::request::check::{ChangedFile, check_file, key_of};
use landfall::domain::rules::check::{check_rules, check_rules_against};
use landfall::domain::secret::Secret;
use landfall::domain::tree::Mode;
use landfall::forge::Webhook as _;
use landfall::forge::gitlab::webhook::{GitLabWebhook, WebhookSecrets, parse, verify};

pub use markdown::comment;

/// A name, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which is that of its corpus and of its program.
pub const TARGETS: &[Target] = &[
    ("command", command),
    ("comment", comment),
    ("request", request),
    ("rules", rules),
    ("signature", signature),
    ("webhook", webhook),
];

/// What one file may have said about it.
const MOST_FINDINGS: usize = 100;

const RULES: &str = "\
apiVersion: landfall.dev/v1
kind: Rules
environments:
  dev: {provider: Simulator}
  prod:
    provider: Simulator
    versions: {cluster: [\"1.32\", \"1.33\"]}
    sizes: {node: {Medium: m7i.xlarge}}
    limits: {nodesPerCluster: 6}
teams: {web-team: {members: [{id: 11, name: ada}]}, data-team: {}}
roles: {admin: {users: [{id: 1, name: root}]}}
";

/// A file of `requests/`: as a new request, and as the update of what it says itself.
pub fn request(data: &[u8]) {
    let (rules, _) = check_rules(RULES.as_bytes());
    let rules = rules.expect("the rules are valid");
    let mut file = ChangedFile {
        path: "requests/web-team/shop.yaml",
        mode: Mode::File,
        size: data.len() as u64,
        bytes: Some(data),
        before: None,
    };
    let (request, findings) = check_file(&rules, &file);
    assert_eq!(request.is_none(), any_error(&findings), "{findings:?}");
    assert_findings(file.path, data, &findings);
    if let Some(request) = &request {
        assert_eq!(key_of(data).as_ref(), Some(&request.key));
        file.before = Some(request);
        let (again, findings) = check_file(&rules, &file);
        assert_eq!(again.as_ref(), Some(request), "{findings:?}");
    }
}

/// A `landfall.yaml`: as the first one, and as a change of what it says itself.
pub fn rules(data: &[u8]) {
    let (rules, findings) = check_rules(data);
    assert_eq!(rules.is_none(), any_error(&findings), "{findings:?}");
    assert_findings("landfall.yaml", data, &findings);
    if let Some(rules) = rules {
        let in_use = rules.environments.keys().cloned().collect();
        let (again, findings) = check_rules_against(&rules, &in_use, data);
        assert!(again.is_some(), "{findings:?}");
    }
}

/// The body of a delivery, under each header that could come with it.
pub fn webhook(data: &[u8]) {
    let now = Timestamp::UNIX_EPOCH;
    for kind in [
        None,
        Some("Push Hook"),
        Some("Merge Request Hook"),
        Some("Note Hook"),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert("x-gitlab-event", HeaderValue::from_static(kind));
        }
        if let Ok(delivery) = parse(&headers, data, 15, now) {
            assert!(
                delivery.project.is_none_or(|project| project == 15),
                "{delivery:?}"
            );
            assert!((1..=200).contains(&delivery.id.len()), "{delivery:?}");
        }
    }
}

/// A call: lines of headers, an empty line, a body. Nothing made up has the right signature.
pub fn signature(data: &[u8]) {
    const TOKEN: &str = "the right token";
    let now = Timestamp::from_second(1_790_000_000).expect("a time");
    let (headers, body) = call(data);
    let signing = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    for (tokens, signing_tokens) in [
        (vec![], vec![signing.clone()]),
        (vec![Secret::new(TOKEN)], vec![]),
        (vec![Secret::new(TOKEN)], vec![signing.clone()]),
    ] {
        let by_token = !tokens.is_empty()
            && (signing_tokens.is_empty() || !headers.contains_key("webhook-signature"))
            && headers.get_all("x-gitlab-token").iter().eq([TOKEN]);
        let secrets = WebhookSecrets::new(&tokens, &signing_tokens).expect("secrets of use");
        assert_eq!(verify(&headers, body, &secrets, now).is_ok(), by_token);
        let webhook = GitLabWebhook { secrets, project: 15 };
        // What comes before the body refuses nothing that would be taken with it.
        assert!(!by_token || webhook.check_headers(&headers, now).is_ok());
        assert!(by_token || webhook.receive(&headers, body, now).is_err());
    }
    // A secret that somebody set is taken or refused.
    let text = String::from_utf8_lossy(data);
    let _ = WebhookSecrets::new(&[], &[Secret::new(text)]);
}

fn call(data: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value)
            && headers.len() < 100
        {
            headers.append(name, value);
        }
    }
    (headers, rest)
}

/// A note with commands in it.
pub fn command(data: &[u8]) {
    let note = String::from_utf8_lossy(data);
    let commands = command::parse(&note);
    let lines = note
        .lines()
        .filter(|line| line.trim_start().starts_with(command::PREFIX));
    assert!(commands.len() <= lines.count(), "{commands:?}");
    for command in commands {
        match command {
            Command::Approve(digest) => {
                let is_hex = digest
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                assert!((32..=64).contains(&digest.len()) && is_hex, "{digest}");
            }
            Command::Unknown(text) => assert!(text.chars().count() <= 60, "{text}"),
            _ => {}
        }
    }
    // Nothing in a quote is a command, whatever it says.
    let quoted: String = note.lines().map(|line| format!("> {line}\n")).collect();
    assert_eq!(command::parse(&quoted), []);
}

/// Findings are few, in order, at places of the file, and can be printed in every format.
fn assert_findings(path: &str, data: &[u8], findings: &[Finding]) {
    assert!(findings.len() <= MOST_FINDINGS);
    assert!(findings.is_sorted_by_key(|finding| &finding.place));
    let text = String::from_utf8_lossy(data);
    // The end of a file is a place, too.
    let lines = text.split('\n').flat_map(|line| line.split('\r')).count() + 1;
    for finding in findings {
        let place = &finding.place;
        assert_eq!(place.path, path);
        assert!((1..=lines).contains(&(place.line as usize)), "{finding:?}");
        assert!(
            (1..=data.len() + 1).contains(&(place.column as usize)),
            "{finding:?}"
        );
        assert!(!finding.message.contains(char::is_control), "{finding:?}");
        assert!(finding.message.len() + finding.hint.len() < 4_000, "{finding:?}");
    }
    let source = |_: &str| Some(data);
    let looks = [Look::Lines, Look::Snippets { color: false }];
    for look in looks {
        print(Format::Text, look, findings, 1, &source, &mut std::io::sink()).expect("it prints");
    }
    for format in [Format::Json, Format::Sarif, Format::Gitlab] {
        let mut out = Vec::new();
        print(format, Look::Lines, findings, 1, &source, &mut out).expect("it prints");
        serde_json::from_slice::<serde_json::Value>(&out).expect("it is JSON");
    }
}
