//! The way to an AWS. It writes down every call that is made, and makes trouble for one of them, such as the third of its
//! name, and for what comes next. What goes over it is AWS's own HTTP; signatures are not touched, and not checked either.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// AWS answers that it was asked too often.
    Throttled,
    /// The connection ends before AWS was asked.
    BrokenOff,
    /// AWS does what it was asked, and the connection ends before it answers.
    AnswerLost,
    /// AWS does what it was asked, and nobody ever hears of it.
    NoAnswer,
    /// The same, and whoever asked is told to die.
    Death,
    /// AWS answers with that status, code and words.
    Refused(u16, &'static str, &'static str),
}

/// Which calls fare badly.
#[derive(Debug, Clone)]
enum Aim {
    /// After so many of that name, that one and whatever comes next.
    From(String, usize),
    Named(&'static str),
}

/// A way that ends with its test.
pub(crate) struct Way {
    url: String,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    log: Mutex<Log>,
    death: Notify,
}

#[derive(Default)]
struct Log {
    calls: Vec<String>,
    /// What happens to which calls, and how often.
    ordered: Option<(Aim, usize, Trouble)>,
    fired: Vec<String>,
}

struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Way {
    pub(crate) async fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            log: Mutex::default(),
            death: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        let accepting = shared.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let shared = accepting.clone();
                connections.spawn(async move {
                    // A client that goes away is none of our business.
                    let _ = shared.serve(connection).await;
                });
            }
        });
        Self {
            url,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From a call of that name on, but for the first so many, so many calls fare like that.
    pub(crate) fn order(&self, name: &str, but: usize, times: usize, trouble: Trouble) {
        let mut log = self.shared.log.lock().unwrap();
        log.fired.clear();
        log.ordered = Some((Aim::From(name.to_owned(), but), times, trouble));
    }

    /// So many calls whose name begins like that fare so, such as `sts:` or `cloudformation:CreateChangeSet`.
    pub(crate) fn order_of(&self, name: &'static str, times: usize, trouble: Trouble) {
        let mut log = self.shared.log.lock().unwrap();
        log.fired.clear();
        log.ordered = Some((Aim::Named(name), times, trouble));
    }

    /// The trouble is over.
    pub(crate) fn clear(&self) {
        self.shared.log.lock().unwrap().ordered = None;
    }

    /// The calls that were made since the first so many, such as `cloudformation:DescribeStacks`.
    pub(crate) fn calls_since(&self, mark: usize) -> Vec<String> {
        let log = self.shared.log.lock().unwrap();
        log.calls.get(mark..).unwrap_or_default().to_vec()
    }

    /// The calls that fared as was ordered last.
    pub(crate) fn fired(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().fired.clone()
    }

    /// Waits until somebody is to die.
    pub(crate) async fn death(&self) {
        self.shared.death.notified().await;
    }
}

impl Shared {
    async fn serve(&self, connection: TcpStream) -> std::io::Result<()> {
        let mut stream = BufStream::new(connection);
        while let Some(call) = read(&mut stream).await? {
            match self.noted(&call) {
                None => {
                    let answer = self.forwarded(call).await;
                    stream.write_all(&answer).await?;
                    stream.flush().await?;
                }
                Some(Trouble::Throttled) => {
                    stream.write_all(&throttled(&call)).await?;
                    stream.flush().await?;
                }
                Some(Trouble::Refused(status, code, words)) => {
                    let body = format!(
                        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{words}</Message></Error>\
                         <RequestId>1</RequestId></ErrorResponse>"
                    );
                    let status = StatusCode::from_u16(status).unwrap();
                    let answer = answer(status, "text/xml", body.as_bytes());
                    stream.write_all(&answer).await?;
                    stream.flush().await?;
                }
                Some(Trouble::BrokenOff) => return Ok(()),
                Some(Trouble::AnswerLost) => {
                    self.forwarded(call).await;
                    return Ok(());
                }
                Some(Trouble::NoAnswer) => {
                    self.forwarded(call).await;
                    std::future::pending::<()>().await;
                }
                Some(Trouble::Death) => {
                    self.forwarded(call).await;
                    self.death.notify_one();
                    std::future::pending::<()>().await;
                }
            }
        }
        Ok(())
    }

    fn noted(&self, call: &Call) -> Option<Trouble> {
        let mut log = self.log.lock().unwrap();
        let name = call.name();
        log.calls.push(name.clone());
        let has_fired = !log.fired.is_empty();
        let (aim, times, trouble) = log.ordered.as_mut()?;
        let (times, trouble) = (*times, *trouble);
        let is_it = match aim {
            Aim::From(..) if has_fired => true,
            Aim::From(aimed, but) if *aimed == name && *but > 0 => {
                *but -= 1;
                false
            }
            Aim::From(aimed, _) => *aimed == name,
            Aim::Named(begin) => name.starts_with(*begin),
        };
        if !is_it || log.fired.len() >= times {
            return None;
        }
        log.fired.push(name);
        Some(trouble)
    }

    async fn forwarded(&self, call: Call) -> Vec<u8> {
        let sent = self
            .client
            .request(call.method, format!("{}{}", self.upstream, call.path))
            .headers(call.headers)
            .body(call.body)
            .send()
            .await
            .unwrap();
        let (status, headers) = (sent.status(), sent.headers().clone());
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
        answer(status, kind.unwrap_or("text/xml"), &sent.bytes().await.unwrap())
    }
}

impl Call {
    /// The service that it is signed for.
    fn service(&self) -> &str {
        let signature = self.headers.get("authorization").unwrap().to_str().unwrap();
        signature.split('/').nth(3).unwrap_or_default()
    }

    fn name(&self) -> String {
        let target = self.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().unwrap().split('.').next_back());
        let mut form = url::form_urlencoded::parse(&self.body);
        let action = || form.find(|(name, _)| name == "Action").unwrap().1.into_owned();
        format!("{}:{}", self.service(), target.map_or_else(action, str::to_owned))
    }
}

/// The next call of a connection; nothing at its end.
async fn read(stream: &mut BufStream<TcpStream>) -> std::io::Result<Option<Call>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let method = words.next().unwrap().parse().unwrap();
    let path = words.next().unwrap().to_owned();
    let mut headers = HeaderMap::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_lowercase(), value.trim());
        match name.as_str() {
            "content-length" => length = value.parse().unwrap(),
            "host" | "connection" => {}
            _ => {
                let value = HeaderValue::from_str(value).unwrap();
                headers.insert(name.parse::<HeaderName>().unwrap(), value);
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Call {
        method,
        path,
        headers,
        body,
    }))
}

fn answer(status: StatusCode, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// That AWS was asked too often, in the words of each protocol.
fn throttled(call: &Call) -> Vec<u8> {
    let (status, kind, body) = match call.service() {
        "ec2" => (
            StatusCode::SERVICE_UNAVAILABLE,
            "text/xml",
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error>\
             </Errors><RequestID>1</RequestID></Response>",
        ),
        "ssm" => (
            StatusCode::BAD_REQUEST,
            "application/x-amz-json-1.1",
            r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
        ),
        _ => (
            StatusCode::BAD_REQUEST,
            "text/xml",
            "<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>\
             <RequestId>1</RequestId></ErrorResponse>",
        ),
    };
    answer(status, kind, body.as_bytes())
}
