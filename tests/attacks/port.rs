//! Who can reach the webhook's port and holds no secret: connections that never say anything, headers that never end,
//! bodies that never come, guesses. Whoever has the secret is answered at once all the while.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::edge::{Door, NOW, OURS, THEIRS, event, from, signed};

/// Longer than any stranger is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// The forge gives up after ten seconds; a bystander's delivery is to be far from that.
const AT_ONCE: Duration = Duration::from_secs(3);

/// The head of a call that could be the forge's, as far as can be seen before its body.
fn plausible(length: &str) -> String {
    format!(
        "POST /webhooks/requests HTTP/1.1\r\nhost: a\r\nwebhook-id: d-1\r\nwebhook-timestamp: {NOW}\r\n\
         webhook-signature: v1,AAAA\r\n{length}\r\n\r\n"
    )
}

async fn opens(door: &Door, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Everything that comes until the other end closes; nothing if it stays open.
async fn answer(stream: &mut TcpStream, within: Duration) -> Option<String> {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(within, stream.read_to_end(&mut answer)).await;
    // A reset is an end, too.
    read.ok().map(|_| String::from_utf8_lossy(&answer).into_owned())
}

/// How many of them are open still.
fn open(streams: &mut Vec<TcpStream>) -> usize {
    let mut left = Vec::new();
    for stream in std::mem::take(streams) {
        // Whoever has been answered, or cut off, has something to read.
        let mut stream = stream.into_std().unwrap();
        let read = std::io::Read::read(&mut stream, &mut [0; 64]);
        if read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock) {
            left.push(TcpStream::from_std(stream).unwrap());
        }
    }
    *streams = left;
    streams.len()
}

/// Whoever comes next finds no more than that many of a source, long before they are given up for what they are.
async fn come_down_to(door: &Door, streams: &mut Vec<TcpStream>, most: usize) {
    let began = Instant::now();
    loop {
        the_forge_is_served(door).await;
        let open = open(streams);
        if open <= most {
            break;
        }
        assert!(
            began.elapsed() < AT_ONCE,
            "{open} connections of one source are open"
        );
    }
    assert!(
        began.elapsed() < AT_ONCE,
        "they were only given up: {:?}",
        began.elapsed()
    );
}

/// A delivery of the forge's is stored, and soon.
async fn the_forge_is_served(door: &Door) {
    let (before, began) = (door.stored(), Instant::now());
    let sent = tokio::time::timeout(AT_ONCE, door.send(signed(&OURS, NOW, event(15)))).await;
    assert_eq!(
        sent.map(|(status, _)| status),
        Ok(200),
        "after {:?}",
        began.elapsed()
    );
    assert_eq!(door.stored(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_say_a_whole_thing() {
    let door = Door::open().await;
    let beginnings = [
        "",
        "P",
        "POST /webhooks/requests HTTP/1.1\r\n",
        "GET /healthz HTTP/1.1\r\nhost: a\r\nx: ",
    ];
    let mut streams = Vec::new();
    for beginning in beginnings {
        streams.push(opens(&door, beginning.as_bytes()).await);
    }
    the_forge_is_served(&door).await;
    for (mut stream, beginning) in streams.into_iter().zip(beginnings) {
        assert!(
            answer(&mut stream, PATIENCE).await.is_some(),
            "{beginning:?} is waited for"
        );
    }
}

/// A byte now and then keeps nothing open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_come_byte_by_byte_and_never_end() {
    let door = Door::open().await;
    let mut stream = opens(&door, b"GET /healthz HTTP/1.1\r\nhost: a\r\n").await;
    let began = Instant::now();
    let mut buffer = [0; 64];
    loop {
        if stream.write_all(b"x: y\r\n").await.is_err() {
            break;
        }
        // What comes is an end; nothing comes while it goes on.
        match tokio::time::timeout(Duration::from_millis(200), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            _ => assert!(began.elapsed() < PATIENCE, "it is still read"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_without_measure() {
    let door = Door::open().await;
    let mut stream = opens(&door, b"GET /healthz HTTP/1.1\r\nhost: a\r\n").await;
    let line = format!("x-{}: y\r\n", "a".repeat(1_000));
    for _ in 0..300 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let said = answer(&mut stream, AT_ONCE).await;
    assert!(
        said.as_ref()
            .is_some_and(|said| said.is_empty() || said.starts_with("HTTP/1.1 431 ")),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_come() {
    let door = Door::open().await;
    let mut held = Vec::new();
    for length in ["content-length: 1000", "transfer-encoding: chunked"] {
        for _ in 0..100 {
            held.push(opens(&door, plausible(length).as_bytes()).await);
        }
    }
    the_forge_is_served(&door).await;
    the_forge_is_served(&door).await;
    // Those that are left are not waited for, either.
    for mut stream in held {
        let said = answer(&mut stream, PATIENCE).await;
        assert!(
            said.is_some_and(|said| !said.contains(" 200 ")),
            "one is waited for"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_trickle() {
    let door = Door::open().await;
    let mut strangers = JoinSet::new();
    for length in ["content-length: 1000000", "transfer-encoding: chunked"] {
        for _ in 0..50 {
            let mut stream = opens(&door, plausible(length).as_bytes()).await;
            strangers.spawn(async move {
                while stream.write_all(b"1\r\nx\r\n").await.is_ok() {
                    let waited = tokio::time::timeout(Duration::from_millis(100), stream.readable()).await;
                    if waited.is_ok() {
                        break;
                    }
                }
            });
        }
    }
    for _ in 0..3 {
        the_forge_is_served(&door).await;
    }
    let ended =
        tokio::time::timeout(PATIENCE, async { while strangers.join_next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "{} go on", strangers.len());
}

/// What is held in memory for those who have proven nothing is bounded in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_that_stop_before_their_end() {
    let door = Door::open().await;
    let mut held = JoinSet::new();
    for _ in 0..12 {
        let mut stream = opens(&door, plausible("content-length: 25000000").as_bytes()).await;
        held.spawn(async move {
            let _ = stream.write_all(&vec![b' '; 20_000_000]).await;
            answer(&mut stream, AT_ONCE).await.is_some()
        });
    }
    the_forge_is_served(&door).await;
    let (mut closed, mut open) = (0, 0);
    while let Some(ended) = held.join_next().await {
        if ended.unwrap() { closed += 1 } else { open += 1 }
    }
    assert!(open <= 1, "{open} of {} bodies of 20 MB are held", open + closed);
    // One as large as that which is right is taken.
    let text = "x".repeat(24_000_000);
    let body = json!({"object_kind": "merge_request", "project": {"id": 15}, "object_attributes": {"iid": 7, "description": text}});
    let sent = door.send(signed(&OURS, NOW, body.to_string().into_bytes())).await;
    assert_eq!(sent.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_anybody_needs() {
    let door = Door::open().await;
    let mut streams = Vec::new();
    for _ in 0..700 {
        streams.push(TcpStream::connect(door.address).await.unwrap());
    }
    come_down_to(&door, &mut streams, 64).await;
}

/// Through a proxy that we know, each caller is a source of its own, and all of them together are bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_through_a_proxy_than_anybody_needs() {
    let door = Door::behind("[\"127.0.0.1\"]").await;
    let mut strangers = Vec::new();
    for number in 0..200 {
        let length = format!(
            "x-forwarded-for: 198.51.100.1\r\ncontent-length: {}",
            1_000 + number
        );
        strangers.push(opens(&door, plausible(&length).as_bytes()).await);
    }
    let mut another = opens(
        &door,
        plausible("x-forwarded-for: 203.0.113.5\r\ncontent-length: 1000").as_bytes(),
    )
    .await;
    let (began, mut left, mut more) = (Instant::now(), strangers.len(), Vec::new());
    while left > 64 {
        assert!(
            began.elapsed() < AT_ONCE,
            "{left} calls of one source are waited for"
        );
        // Theirs are closed for one more of them, and the forge is served all the while.
        let length = "x-forwarded-for: 198.51.100.1\r\ncontent-length: 1000";
        more.push(opens(&door, plausible(length).as_bytes()).await);
        let call = from("192.0.2.7", signed(&OURS, NOW, event(15)));
        let sent = tokio::time::timeout(AT_ONCE, door.send(call)).await;
        assert_eq!(sent.map(|(status, _)| status), Ok(200));
        left = open(&mut strangers);
    }
    assert!(
        answer(&mut another, Duration::from_millis(5)).await.is_none(),
        "nobody else's call was cut off for it"
    );
}

/// Everybody behind a proxy that is not known is one source: others' guesses do not shut the forge out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_from_where_the_forge_is() {
    let door = Door::open().await;
    for number in 0..200 {
        let (status, _) = door.send(signed(&THEIRS, NOW, event(15))).await;
        assert_eq!(status, if number < 60 { 401 } else { 429 }, "guess {number}");
        if number % 40 == 39 {
            the_forge_is_served(&door).await;
        }
    }
    // Nor do guesses that never end.
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(opens(&door, plausible("content-length: 1000").as_bytes()).await);
    }
    come_down_to(&door, &mut held, 8).await;
}

/// One connection is one call: none is kept, and what is sent behind a call is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_behind_calls() {
    let door = Door::open().await;
    let call = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut stream = opens(&door, call.repeat(50).as_bytes()).await;
    let said = answer(&mut stream, AT_ONCE).await.expect("it is closed");
    assert!(said.matches("HTTP/1.1 200 OK").count() <= 1, "{said}");
    let mut stream = opens(&door, call.as_bytes()).await;
    let said = answer(&mut stream, AT_ONCE).await.expect("it is closed");
    assert!(
        said.starts_with("HTTP/1.1 200 OK") && said.ends_with("ok\n"),
        "{said}"
    );
}

/// HTTP/2 without TLS would carry a hundred calls a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol() {
    let door = Door::open().await;
    // The client's preface and an empty SETTINGS frame (RFC 9113, 3.4).
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut stream = opens(&door, preface).await;
    let said = answer(&mut stream, AT_ONCE).await;
    assert!(
        said.as_ref()
            .is_some_and(|said| said.is_empty() || said.starts_with("HTTP/1.1 ")),
        "{said:?}"
    );
}
