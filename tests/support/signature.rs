//! GitLab's signature of a webhook, as <https://www.standardwebhooks.com> has it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header `webhook-signature` of a delivery with this id, sent at this time (in seconds).
pub(crate) fn sign(key: &[u8], id: &str, at: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&[id.as_bytes(), b".", at.to_string().as_bytes(), b".", body].concat());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
