//! The packet lines of a push: what it asks for, and how it is told no.
//! <https://git-scm.com/docs/pack-protocol> describes them.

use std::io::Read;

use axum::response::{IntoResponse, Response};
use http::header;

use super::failure::Failure;

/// A push that arrives compressed is read whole, up to this size in bytes once unpacked.
const LARGEST_UNPACKED: u64 = 64 * 1024 * 1024;

/// The commands of a push, as sent before the pack.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Commands {
    pub(super) changes: Vec<(String, String, String)>,
    pub(super) options: Vec<String>,
    /// Whether the client reads messages beside the report.
    pub(super) side_band: bool,
}

impl Commands {
    /// Reads the packet lines at the start of a push; nothing where they are not all there yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, Failure> {
        let mut commands = Self::default();
        let mut wants_options = false;
        let mut in_options = false;
        let mut rest = bytes;
        loop {
            let Some(length) = rest.get(..4) else {
                return Ok(None);
            };
            let length = std::str::from_utf8(length)
                .ok()
                .and_then(|text| usize::from_str_radix(text, 16).ok());
            let line = match length {
                Some(0) => {
                    rest = &rest[4..];
                    if in_options || !wants_options {
                        return Ok(Some(commands));
                    }
                    in_options = true;
                    continue;
                }
                Some(length) if length >= 4 => match rest.get(4..length) {
                    Some(line) => {
                        rest = &rest[length..];
                        line
                    }
                    None => return Ok(None),
                },
                _ => {
                    return Err(Failure::bad_request(
                        "a push that does not start with packet lines",
                    ));
                }
            };
            if in_options {
                commands
                    .options
                    .push(String::from_utf8_lossy(line).trim_end_matches('\n').to_owned());
                continue;
            }
            let mut halves = line.splitn(2, |byte| *byte == 0);
            let command = String::from_utf8_lossy(halves.next().unwrap_or_default())
                .trim_end()
                .to_owned();
            if let Some(capabilities) = halves.next() {
                let text = String::from_utf8_lossy(capabilities).into_owned();
                commands.side_band = text.split_whitespace().any(|word| word == "side-band-64k");
                wants_options = text.split_whitespace().any(|word| word == "push-options");
            }
            let mut words = command.splitn(3, ' ');
            if let (Some(old), Some(new), Some(name)) = (words.next(), words.next(), words.next())
                && old.len() == 40
            {
                commands
                    .changes
                    .push((old.to_owned(), new.to_owned(), name.to_owned()));
            }
        }
    }
}

/// One packet line.
fn packet(payload: &[u8]) -> Vec<u8> {
    let mut line = format!("{:04x}", payload.len() + 4).into_bytes();
    line.extend_from_slice(payload);
    line
}

/// A line that git prints as `remote: …`.
pub(super) fn message(text: &str) -> Vec<u8> {
    let mut payload = vec![2];
    payload.extend(text.bytes().take(60_000));
    payload.push(b'\n');
    packet(&payload)
}

pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .take(LARGEST_UNPACKED)
        .read_to_end(&mut plain)
        .map_err(|_| Failure::bad_request("a compressed push that cannot be unpacked"))?;
    Ok(plain)
}

/// The answer of a server whose pre-receive hook declined.
pub(super) fn refused(commands: &Commands, words: &str) -> Response {
    let mut report = packet(b"unpack ok\n");
    for (_, _, name) in &commands.changes {
        report.extend(packet(
            format!("ng {name} pre-receive hook declined\n").as_bytes(),
        ));
    }
    report.extend_from_slice(b"0000");
    let body = if commands.side_band {
        let mut body = message(words);
        let mut band = vec![1];
        band.extend(report);
        body.extend(packet(&band));
        body.extend_from_slice(b"0000");
        body
    } else {
        report
    };
    let kind = "application/x-git-receive-pack-result";
    (
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")],
        body,
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::{Commands, packet};

    #[test]
    fn reads_commands_and_options() {
        let old = "1".repeat(40);
        let new = "2".repeat(40);
        let mut bytes =
            packet(format!("{old} {new} refs/heads/a\0 report-status side-band-64k push-options").as_bytes());
        bytes.extend(packet(format!("{old} {new} refs/heads/b").as_bytes()));
        bytes.extend_from_slice(b"0000");
        let without_options = bytes.len();
        bytes.extend(packet(b"merge_request.create"));
        bytes.extend_from_slice(b"0000PACK");
        for cut in 0..without_options {
            assert_eq!(Commands::parse(&bytes[..cut]).unwrap(), None);
        }
        let commands = Commands::parse(&bytes).unwrap().unwrap();
        assert_eq!(commands.options, ["merge_request.create"]);
        assert_eq!(commands.changes.len(), 2);
        assert!(commands.side_band);
        assert!(Commands::parse(b"zzzz").is_err());
    }
}
