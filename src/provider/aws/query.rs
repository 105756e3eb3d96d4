//! A small signed client for what is asked so seldom that an SDK of its own is not worth building: the query protocol of
//! EC2 and RDS (XML) and SSM's JSON. It reads only. Where it calls follows from the region, or is the endpoint of the SDK's own
//! configuration, and never from anything that a request or an answer says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::header::{CONTENT_TYPE, HOST};
use serde_json::Value;
use url::Url;
use url::form_urlencoded::Serializer;

use super::access::Session;
use super::failure::Fault;
use crate::clock::Clock;
use crate::domain::step::FailureClass;
use crate::http_client;

/// How long one call may take from end to end.
const CALL_TIME: Duration = Duration::from_secs(30);
/// The largest answer that is read: a thousand route tables fit.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;
/// The most pages of one answer, of up to a thousand entries each.
const MOST_PAGES: usize = 50;
/// EC2's version, as its API reference names it.
const EC2_VERSION: &str = "2016-11-15";
/// RDS's.
const RDS_VERSION: &str = "2014-10-31";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const JSON: &str = "application/x-amz-json-1.1";

/// Asks EC2, RDS and SSM.
#[derive(Clone)]
pub(super) struct Query {
    http: reqwest::Client,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").finish_non_exhaustive()
    }
}

/// One call, before it is signed.
struct Call<'c> {
    service: &'static str,
    content_type: &'static str,
    target: Option<&'c str>,
    body: String,
}

impl Query {
    /// One that calls through that client, and signs by that clock.
    #[must_use]
    pub(super) fn new(http: reqwest::Client, clock: Arc<dyn Clock>) -> Self {
        Self { http, clock }
    }

    /// All entries of a list of EC2's, page by page, each turned into something of ours. `parameters` go with each call;
    /// `list` is the element that holds the entries.
    ///
    /// # Errors
    /// What EC2 or the way to it says.
    pub(super) async fn ec2<T>(
        &self,
        session: &Session,
        action: &str,
        parameters: &[(String, String)],
        list: &str,
        entry: impl Fn(roxmltree::Node<'_, '_>) -> Option<T>,
    ) -> Result<Vec<T>, Fault> {
        let mut entries = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let call = Call {
                service: "ec2",
                content_type: FORM,
                target: None,
                body: form(action, EC2_VERSION, parameters, next.as_deref()),
            };
            let answer = self.call(session, call, xml_fault).await?;
            let page = roxmltree::Document::parse(&answer).map_err(|error| unreadable(action, &error))?;
            let holder = child(page.root_element(), list)
                .ok_or_else(|| unreadable(action, &format!("it has no {list}")))?;
            for item in holder.children().filter(|node| node.has_tag_name_of("item")) {
                let lacks = || unreadable(action, &format!("an entry of its {list} lacks what it must have"));
                entries.push(entry(item).ok_or_else(lacks)?);
            }
            next = text(page.root_element(), "nextToken").filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(entries);
            }
        }
        Err(ours(format!(
            "{action}: the answer has more than {MOST_PAGES} pages"
        )))
    }

    /// The newest snapshot of a database that was taken by order and not by RDS itself: its id. A database has a hundred
    /// of them at most, which is a page.
    /// <https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBSnapshots.html>
    ///
    /// # Errors
    /// What RDS or the way to it says.
    pub(super) async fn newest_snapshot(
        &self,
        session: &Session,
        database: &str,
    ) -> Result<Option<String>, Fault> {
        let action = "DescribeDBSnapshots";
        let parameters = [("DBInstanceIdentifier", database), ("SnapshotType", "manual")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let call = Call {
            service: "rds",
            content_type: FORM,
            target: None,
            body: form(action, RDS_VERSION, &parameters, None),
        };
        let answer = self.call(session, call, xml_fault).await?;
        let page = roxmltree::Document::parse(&answer).map_err(|error| unreadable(action, &error))?;
        Ok(newest_of(&page))
    }

    /// The value of a parameter that SSM publishes.
    ///
    /// # Errors
    /// What SSM or the way to it says.
    pub(super) async fn ssm_parameter(&self, session: &Session, name: &str) -> Result<String, Fault> {
        let call = Call {
            service: "ssm",
            content_type: JSON,
            target: Some("AmazonSSM.GetParameter"),
            body: serde_json::json!({ "Name": name }).to_string(),
        };
        let answer = self.call(session, call, json_fault).await?;
        let answer: Value =
            serde_json::from_str(&answer).map_err(|error| unreadable("GetParameter", &error))?;
        let value = answer.pointer("/Parameter/Value").and_then(Value::as_str);
        value
            .map(ToOwned::to_owned)
            .ok_or_else(|| unreadable("GetParameter", &"it has no value"))
    }

    /// Signs, sends, and answers the body, or what `fault` makes of a refusal's status and body.
    async fn call(
        &self,
        session: &Session,
        call: Call<'_>,
        fault: fn(u16, &str) -> Fault,
    ) -> Result<String, Fault> {
        let url = url(call.service, session.region(), session.endpoint())?;
        let now = SystemTime::from(self.clock.now());
        let request = signed(&call, &url, session.region(), session.credentials(), now)?;
        let sent = self.http.execute(request).await;
        let answer = sent.map_err(|error| Fault::unanswered(http_client::reason(&error)))?;
        let status = answer.status();
        let body = http_client::read_body(answer, LARGEST_ANSWER).await;
        let body = body.map_err(|error| Fault::unanswered(error.to_string()))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(body);
        }
        let fault = fault(status.as_u16(), &body);
        if fault.code.is_empty() && fault.message.is_empty() {
            // Not AWS's form: something on the way answered.
            let message = format!("the answer is {status}, and says nothing that can be read");
            return Err(Fault { message, ..fault });
        }
        Err(fault)
    }
}

fn form(action: &str, version: &str, parameters: &[(String, String)], next: Option<&str>) -> String {
    Serializer::new(String::new())
        .append_pair("Action", action)
        .append_pair("Version", version)
        .extend_pairs(parameters)
        .extend_pairs(next.map(|next| ("NextToken", next)))
        .finish()
}

/// The call with its signature in its headers.
fn signed(
    call: &Call<'_>,
    url: &Url,
    region: &str,
    credentials: &Credentials,
    now: SystemTime,
) -> Result<reqwest::Request, Fault> {
    let unsigned = |error: &dyn std::fmt::Display| ours(format!("the call could not be signed: {error}"));
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = http::Request::post(url.as_str())
        .header(HOST, authority)
        .header(CONTENT_TYPE, call.content_type);
    if let Some(target) = call.target {
        request = request.header("x-amz-target", target);
    }
    let mut request = request
        .body(call.body.clone())
        .map_err(|error| unsigned(&error))?;
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(call.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsigned(&error))?
        .into();
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(call.body.as_bytes());
    let signable = SignableRequest::new("POST", url.as_str(), headers, body);
    let signable = signable.map_err(|error| unsigned(&error))?;
    let signature = sign(signable, &parameters).map_err(|error| unsigned(&error))?;
    let (instructions, _) = signature.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    let mut request = reqwest::Request::try_from(request).map_err(|error| unsigned(&error))?;
    *request.timeout_mut() = Some(CALL_TIME);
    Ok(request)
}

/// Where a service is called: at the endpoint that stands for all of AWS, else at its own in the region.
fn url(service: &str, region: &str, endpoint: Option<&str>) -> Result<Url, Fault> {
    if let Some(endpoint) = endpoint {
        return Url::parse(endpoint).map_err(|_| ours("the endpoint for AWS is not an address".to_owned()));
    }
    let is_region = region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    let url = Url::parse(&format!("https://{service}.{region}.amazonaws.com{china}/"));
    url.ok()
        .filter(|_| is_region)
        .ok_or_else(|| ours(format!("`{region}` is not a region of AWS")))
}

/// The first child element of that name, whatever its namespace.
pub(super) fn child<'d, 'i>(node: roxmltree::Node<'d, 'i>, name: &str) -> Option<roxmltree::Node<'d, 'i>> {
    node.children().find(|child| child.has_tag_name_of(name))
}

/// The text of the first child element of that name.
pub(super) fn text(node: roxmltree::Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).map(|child| child.text().unwrap_or_default().trim().to_owned())
}

/// The entries of a list within an entry.
pub(super) fn items<'d, 'i: 'd>(
    node: roxmltree::Node<'d, 'i>,
    list: &str,
) -> impl Iterator<Item = roxmltree::Node<'d, 'i>> {
    let holder = child(node, list);
    holder
        .into_iter()
        .flat_map(|holder| holder.children().filter(|item| item.has_tag_name_of("item")))
}

/// The id of the newest of some snapshots.
fn newest_of(page: &roxmltree::Document<'_>) -> Option<String> {
    let snapshots = page
        .descendants()
        .filter(|node| node.has_tag_name_of("DBSnapshot"));
    // Times in RDS's form sort as they follow each other; one that is still being taken has none.
    let newest = snapshots.max_by_key(|snapshot| {
        let taken_at = text(*snapshot, "SnapshotCreateTime").filter(|time| !time.is_empty());
        (taken_at.is_none(), taken_at)
    });
    newest.and_then(|snapshot| text(snapshot, "DBSnapshotIdentifier"))
}

trait Named {
    fn has_tag_name_of(&self, name: &str) -> bool;
}

impl Named for roxmltree::Node<'_, '_> {
    fn has_tag_name_of(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

/// `<Response><Errors><Error><Code/><Message/></Error></Errors>…`: EC2's form of an error.
fn xml_fault(status: u16, body: &str) -> Fault {
    let Ok(page) = roxmltree::Document::parse(body) else {
        return Fault::answered("", "", status);
    };
    let error = page.descendants().find(|node| node.has_tag_name_of("Error"));
    let say = |name| error.and_then(|error| text(error, name)).unwrap_or_default();
    Fault::answered(&say("Code"), &say("Message"), status)
}

/// `{"__type": "namespace#Code", "message": …}`: the JSON protocol's form of an error.
fn json_fault(status: u16, body: &str) -> Fault {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let say = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let code = say("__type").rsplit('#').next().unwrap_or_default();
    let message = [say("message"), say("Message")].concat();
    Fault::answered(code, &message, status)
}

fn ours(message: String) -> Fault {
    Fault {
        class: FailureClass::Internal,
        ..Fault::unanswered(message)
    }
}

fn unreadable(action: &str, error: &dyn std::fmt::Display) -> Fault {
    ours(format!("the answer to {action} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_calls_follows_from_region_and_endpoint_only() {
        let to = |region, endpoint| url("ec2", region, endpoint).map(|url| url.to_string());
        assert_eq!(
            to("eu-central-1", None).unwrap(),
            "https://ec2.eu-central-1.amazonaws.com/"
        );
        assert_eq!(
            to("cn-north-1", None).unwrap(),
            "https://ec2.cn-north-1.amazonaws.com.cn/"
        );
        assert_eq!(
            to("eu-central-1", Some("http://127.0.0.1:4566")).unwrap(),
            "http://127.0.0.1:4566/"
        );
        for region in ["x.example.test/", "a@b", "a b"] {
            assert_eq!(to(region, None).unwrap_err().class, FailureClass::Internal);
        }
    }

    /// The signature of botocore's SigV4Auth for the same call, credentials and time.
    #[test]
    fn it_signs_as_others_do() {
        let call = Call {
            service: "ec2",
            content_type: FORM,
            target: None,
            body: "Action=DescribeSubnets&Version=2016-11-15".to_owned(),
        };
        let credentials =
            Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI", Some("token".into()), None, "test");
        let url = url("ec2", "eu-central-1", None).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let request = signed(&call, &url, "eu-central-1", &credentials, now).unwrap();
        assert_eq!(
            request.headers()["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20231114/eu-central-1/ec2/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=8baa7e8a843cc24e2ffdb0b935e1404f12d57da054d038ce9ff388d409853853"
        );
    }

    #[test]
    fn the_newest_snapshot_is_the_one_that_was_taken_last() {
        let newest = |snapshots: &[(&str, &str)]| {
            let entry = |(id, time): &(&str, &str)| {
                format!(
                    "<DBSnapshot><DBSnapshotIdentifier>{id}</DBSnapshotIdentifier>\
                     <SnapshotCreateTime>{time}</SnapshotCreateTime></DBSnapshot>"
                )
            };
            let entries: String = snapshots.iter().map(entry).collect();
            let page = format!("<R xmlns=\"x\"><DBSnapshots>{entries}</DBSnapshots></R>");
            newest_of(&roxmltree::Document::parse(&page).unwrap())
        };
        let (old, new) = (("old", "2026-09-30T09:00:00Z"), ("new", "2026-10-01T08:00:00Z"));
        assert_eq!(newest(&[new, old]).as_deref(), Some("new"));
        assert_eq!(newest(&[old, ("taking", ""), new]).as_deref(), Some("taking"));
        assert_eq!(newest(&[]), None);
    }

    #[test]
    fn errors_are_read_in_both_forms() {
        let xml = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized \
                   to perform: ec2:DescribeSubnets</Message></Error></Errors><RequestID>1</RequestID></Response>";
        let fault = xml_fault(403, xml);
        assert_eq!(
            (fault.code.as_str(), fault.class),
            ("UnauthorizedOperation", FailureClass::Refused)
        );
        assert!(fault.message.ends_with("ec2:DescribeSubnets"));
        let json = r#"{"__type":"com.amazonaws.ssm#ThrottlingException","message":"Rate exceeded"}"#;
        let fault = json_fault(400, json);
        assert_eq!(
            (fault.code.as_str(), fault.message.as_str(), fault.class),
            ("ThrottlingException", "Rate exceeded", FailureClass::Throttled)
        );
        assert_eq!(xml_fault(503, "Bad gateway").class, FailureClass::Transient);
        assert_eq!(json_fault(502, "<html>").class, FailureClass::Transient);
    }
}
