//! A GitLab whose certificate is from an authority of its own.

use jiff::Timestamp;
use landfall::clock::ManualClock;
use landfall::forge::{Forge as _, ForgeError};
use landfall::http_client::{self, HttpClientOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{NOW, adapter_over};
use crate::support::tls;

/// Answers every call with one user.
async fn serve() -> u16 {
    let acceptor = tls::acceptor();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let Ok(mut connection) = acceptor.accept(connection).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let body = r#"{"id":9,"username":"landfall"}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = connection.write_all(answer.as_bytes()).await;
            let _ = connection.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn an_authority_of_our_own_is_trusted_once_it_is_given() {
    let base = format!("https://127.0.0.1:{}", serve().await);
    let clock = ManualClock::at(Timestamp::from_second(NOW).unwrap());
    let options = HttpClientOptions {
        ca_file: Some(tls::file("authority.pem")),
        proxy: None,
    };
    let trusting = adapter_over(http_client::build(&options).unwrap(), &base, &clock);
    assert_eq!(trusting.own_user().await.unwrap().username, "landfall");

    let usual = adapter_over(
        http_client::build(&HttpClientOptions::default()).unwrap(),
        &base,
        &clock,
    );
    let error = usual.own_user().await.unwrap_err();
    assert!(
        matches!(&error, ForgeError::Unavailable { reason, .. } if reason.contains("certificate")),
        "{error}"
    );
}
