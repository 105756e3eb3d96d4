//! What policies say, read from the documents of their packages. What is not understood denies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Approvers, Demands, Requirement, Role, Waiver, broken, plain};
use crate::domain::finding::{Code, Finding, Place, Severity};
use crate::domain::ids::RequestKey;

/// So many denials, or warnings, of one policy on one request are told; a last one says that there are more.
const MOST_TOLD: usize = 20;
/// The most approvals that may be asked for: past it, somebody slipped, and nobody could ever sign off.
const MOST_APPROVALS: u64 = 20;

/// The rules of a policy that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// Why the change is not to be.
    Deny,
    /// What a person should look at.
    Warn,
    /// Who has to approve, besides those that the rules ask for.
    Approvals,
    /// Why nobody has to.
    Waive,
}

impl Entry {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Deny, Self::Warn, Self::Approvals, Self::Waive];

    /// The rule's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Warn => "warn",
            Self::Approvals => "approvals",
            Self::Waive => "waive",
        }
    }
}

/// One package of policies, and where it defines the rules that are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The parts of its name, such as `["landfall", "production"]`.
    pub name: Vec<String>,
    /// The rules that it has of those that are asked, each at its first place.
    pub entries: BTreeMap<Entry, Place>,
}

/// What policies say about a merge request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Denials and warnings, at the policies' own places.
    pub findings: Vec<Finding>,
    /// What they say about the sign-off.
    pub demands: Demands,
}

impl Verdict {
    /// Adds what a package says about a request: its rules' values by their names, undefined ones left out.
    pub fn read(&mut self, package: &Package, values: &Map<String, Value>, request: &RequestKey) {
        for (entry, place) in &package.entries {
            let Some(value) = values.get(entry.as_str()) else {
                continue;
            };
            let Some(elements) = value.as_array() else {
                let wanted = format!(
                    "`{0}` is {1} and not a set; write `{0} contains … if {{ … }}`",
                    entry.as_str(),
                    words(value)
                );
                self.findings.push(broken(place.clone(), &wanted));
                continue;
            };
            let mut told = 0;
            for element in elements {
                told += 1;
                if told > MOST_TOLD {
                    self.more(*entry, place, request, elements.len() - MOST_TOLD);
                    break;
                }
                if let Err(why) = self.element(*entry, place, request, element) {
                    let why = format!("an element of `{}` {why}", entry.as_str());
                    self.findings.push(broken(place.clone(), &why));
                }
            }
        }
    }

    fn element(
        &mut self,
        entry: Entry,
        place: &Place,
        request: &RequestKey,
        element: &Value,
    ) -> Result<(), String> {
        match entry {
            Entry::Deny | Entry::Warn => self.findings.push(finding(entry, place, request, element)?),
            Entry::Approvals => self.demands.requirements.push(requirement(place, element)?),
            Entry::Waive => {
                let reason = element
                    .as_str()
                    .ok_or("is no text, the reason why nobody has to approve")?;
                self.demands.waivers.push(Waiver {
                    request: request.clone(),
                    policy: place.path.clone(),
                    reason: plain(reason),
                });
            }
        }
        Ok(())
    }

    fn more(&mut self, entry: Entry, place: &Place, request: &RequestKey, count: usize) {
        let message = format!("{request}: {count} more of `{}` are not told.", entry.as_str());
        // Too many of any kind: whatever they ask for is not known, so it is refused.
        self.findings.push(if entry == Entry::Warn {
            Finding::warning(Code::PolicyWarned, place.clone(), message, HINT)
        } else {
            Finding::error(Code::PolicyDenied, place.clone(), message, HINT)
        });
    }

    /// Nothing could be judged, or something is wrong with what judges.
    #[must_use]
    pub fn refused(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
            demands: Demands::default(),
        }
    }

    /// Sorted, each said once, and the denials told to the gate.
    pub fn settle(&mut self) {
        crate::domain::finding::sort(&mut self.findings);
        let errors = self
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error);
        self.demands.denials = errors.map(|finding| finding.message.clone()).collect();
        self.demands.requirements.sort();
        self.demands.requirements.dedup();
        self.demands.waivers.sort();
        self.demands.waivers.dedup();
    }
}

const HINT: &str = "Change the request, or ask an admin about the policy.";

fn words(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The fields of an element, if it has no others than these.
fn fields<'a>(element: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let fields = element
        .as_object()
        .ok_or_else(|| format!("is {}", words(element)))?;
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(format!(
            "has the field `{}`; there is {}",
            plain(unknown),
            known.join(", ")
        )),
        None => Ok(fields),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a field `{name}` that is no text")),
    }
}

fn finding(entry: Entry, place: &Place, request: &RequestKey, element: &Value) -> Result<Finding, String> {
    let (message, path, hint) = if let Value::String(message) = element {
        (message.as_str(), None, None)
    } else {
        let fields = fields(element, &["msg", "path", "hint"])?;
        let message = text(fields, "msg")?.ok_or("has no field `msg`")?;
        (message, text(fields, "path")?, text(fields, "hint")?)
    };
    let at = path
        .map(|path| format!(" at `{}`", plain(path)))
        .unwrap_or_default();
    let message = format!("{request}{at}: {}", plain(message));
    let hint = hint.map_or_else(|| HINT.to_owned(), plain);
    Ok(match entry {
        Entry::Warn => Finding::warning(Code::PolicyWarned, place.clone(), message, hint),
        _ => Finding::error(Code::PolicyDenied, place.clone(), message, hint),
    })
}

fn requirement(place: &Place, element: &Value) -> Result<Requirement, String> {
    let fields = fields(element, &["role", "group", "count", "reason"])?;
    let from = match (text(fields, "role")?, text(fields, "group")?) {
        (Some(role), None) => {
            let role: Role = serde_json::from_value(Value::from(role)).map_err(|_| {
                format!(
                    "asks for the role `{}`; there is admin, developer, projectManager",
                    plain(role)
                )
            })?;
            Approvers::Role(role)
        }
        (None, Some(group)) if !group.trim().is_empty() => Approvers::Group(plain(group)),
        _ => return Err("needs either `role` or `group`".into()),
    };
    let count = match fields.get("count") {
        None => 1,
        Some(count) => count
            .as_u64()
            .filter(|count| (1..=MOST_APPROVALS).contains(count))
            .ok_or_else(|| format!("has a `count` that is not 1 to {MOST_APPROVALS}"))?,
    };
    let reason = text(fields, "reason")?.ok_or("has no `reason`")?;
    Ok(Requirement {
        from,
        count: u32::try_from(count).unwrap_or(u32::MAX),
        policy: place.path.clone(),
        reason: plain(reason),
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn read(entry: Entry, value: Value) -> Verdict {
        let place = Place {
            path: "policies/production.rego".into(),
            line: 7,
            column: 1,
        };
        let package = Package {
            name: vec!["production".into()],
            entries: [(entry, place)].into(),
        };
        let values = Map::from_iter([(entry.as_str().to_owned(), value)]);
        let mut verdict = Verdict::default();
        verdict.read(&package, &values, &"Cluster/main".parse().expect("a key"));
        verdict
    }

    #[rstest]
    #[case::text(json!(["no public clusters"]), "Cluster/main: no public clusters")]
    #[case::object(json!([{"msg": "no"}]), "Cluster/main: no")]
    #[case::path(json!([{"msg": "no", "path": "apiServer.access"}]), "Cluster/main at `apiServer.access`: no")]
    #[case::lines(json!(["one\ntwo\u{1b}[31m"]), "Cluster/main: one two [31m")]
    fn a_denial_is_told_at_the_policys_place(#[case] value: Value, #[case] expected: &str) {
        let verdict = read(Entry::Deny, value);
        let [finding] = verdict.findings.as_slice() else {
            panic!("{verdict:?}")
        };
        assert_eq!(
            (finding.code, finding.severity),
            (Code::PolicyDenied, Severity::Error)
        );
        assert_eq!(finding.message, expected);
        assert_eq!(
            (finding.place.path.as_str(), finding.place.line),
            ("policies/production.rego", 7)
        );
    }

    #[rstest]
    #[case::deny_true(Entry::Deny, json!(true))]
    #[case::deny_false(Entry::Deny, json!(false))]
    #[case::deny_text(Entry::Deny, json!("no"))]
    #[case::deny_object(Entry::Deny, json!({}))]
    #[case::deny_number(Entry::Deny, json!([1]))]
    #[case::deny_list(Entry::Deny, json!([["no"]]))]
    #[case::deny_no_message(Entry::Deny, json!([{}]))]
    #[case::deny_null_message(Entry::Deny, json!([{"msg": null}]))]
    #[case::deny_unknown_field(Entry::Deny, json!([{"msg": "no", "severity": "low"}]))]
    #[case::warn_true(Entry::Warn, json!(true))]
    #[case::approvals_number(Entry::Approvals, json!(2))]
    #[case::approvals_text(Entry::Approvals, json!(["two"]))]
    #[case::approvals_nobody(Entry::Approvals, json!([{"count": 2, "reason": "r"}]))]
    #[case::approvals_both(Entry::Approvals, json!([{"role": "admin", "group": "a", "reason": "r"}]))]
    #[case::approvals_unknown_role(Entry::Approvals, json!([{"role": "root", "reason": "r"}]))]
    #[case::approvals_none(Entry::Approvals, json!([{"role": "admin", "count": 0, "reason": "r"}]))]
    #[case::approvals_negative(Entry::Approvals, json!([{"role": "admin", "count": -1, "reason": "r"}]))]
    #[case::approvals_fraction(Entry::Approvals, json!([{"role": "admin", "count": 1.5, "reason": "r"}]))]
    #[case::approvals_too_many(Entry::Approvals, json!([{"role": "admin", "count": 21, "reason": "r"}]))]
    #[case::approvals_no_reason(Entry::Approvals, json!([{"role": "admin"}]))]
    #[case::waive_true(Entry::Waive, json!(true))]
    #[case::waive_object(Entry::Waive, json!([{"reason": "r"}]))]
    fn what_is_not_understood_denies(#[case] entry: Entry, #[case] value: Value) {
        let verdict = read(entry, value);
        assert!(verdict.demands.is_empty());
        let codes: Vec<_> = verdict.findings.iter().map(|f| (f.code, f.severity)).collect();
        assert_eq!(codes, [(Code::PolicyBroken, Severity::Error)], "{verdict:?}");
    }

    #[rstest]
    #[case::empty(Entry::Deny, json!([]))]
    #[case::empty_waive(Entry::Waive, json!([]))]
    fn an_empty_set_says_nothing(#[case] entry: Entry, #[case] value: Value) {
        assert_eq!(read(entry, value), Verdict::default());
    }

    #[test]
    fn approvals_and_waivers_name_their_policy() {
        let verdict = read(
            Entry::Approvals,
            json!([{"role": "admin", "count": 2, "reason": "two"}, {"group": "security/leads", "reason": "one"}]),
        );
        let told: Vec<_> = verdict
            .demands
            .requirements
            .iter()
            .map(|r| (r.from.clone(), r.count, r.policy.as_str()))
            .collect();
        let policy = "policies/production.rego";
        assert_eq!(
            told,
            [
                (Approvers::Role(Role::Admin), 2, policy),
                (Approvers::Group("security/leads".into()), 1, policy)
            ]
        );
        let verdict = read(Entry::Waive, json!(["small"]));
        assert_eq!(verdict.demands.waivers[0].reason, "small");
    }

    #[test]
    fn a_flood_is_cut_and_still_denies() {
        let many: Vec<String> = (0..10_000)
            .map(|n| format!("denial {n} {}", "x".repeat(10_000)))
            .collect();
        let verdict = read(Entry::Deny, json!(many));
        assert_eq!(verdict.findings.len(), MOST_TOLD + 1);
        assert!(verdict.findings.iter().all(|f| f.message.len() < 2_000));
        let verdict = read(
            Entry::Approvals,
            json!(vec![json!({"role": "admin", "reason": "r"}); 100]),
        );
        assert!(crate::domain::finding::any_error(&verdict.findings));
    }
}
