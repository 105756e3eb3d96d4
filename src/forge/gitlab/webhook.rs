//! GitLab's webhook calls: first [`verify`], then [`parse`].

mod delivery;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::domain::secret::Secret;
use crate::forge::{Delivery, Webhook, WebhookError};

pub use self::delivery::parse;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TOKEN: HeaderName = HeaderName::from_static("x-gitlab-token");
const SIGNING_TOKEN_PREFIX: &str = "whsec_";
const SHORTEST_KEY: usize = 24;
/// How far a signed time may be from ours, either way.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// A secret that is of no use. It says which one by its place, counted from one, never by its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// There is none.
    #[error("a webhook needs a secret token or a signing token")]
    None,
    /// An empty one.
    #[error("secret token {place} of the webhook is empty")]
    EmptyToken {
        /// Which.
        place: usize,
    },
    /// Not of the form that GitLab gives.
    #[error("signing token {place} of the webhook is not `whsec_` and base64 of at least 24 bytes")]
    SigningToken {
        /// Which.
        place: usize,
    },
}

/// The key that a signing token holds.
#[derive(Clone)]
struct SigningKey(Vec<u8>);

/// What a delivery can prove itself by. Several may be valid at once, so that they can be changed without a gap.
#[derive(Clone)]
pub struct WebhookSecrets {
    /// Digests of the plain tokens: of one length, so that comparing tells nothing about the tokens' lengths.
    tokens: Vec<[u8; 32]>,
    signing_keys: Vec<SigningKey>,
}

impl std::fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl WebhookSecrets {
    /// Takes plain tokens and signing tokens (`whsec_…`), at least one in all.
    ///
    /// # Errors
    /// [`SecretsError`] if there is none, or one is of no use.
    pub fn new(tokens: &[Secret], signing_tokens: &[Secret]) -> Result<Self, SecretsError> {
        if tokens.is_empty() && signing_tokens.is_empty() {
            return Err(SecretsError::None);
        }
        let tokens = (1..)
            .zip(tokens)
            .map(|(place, token)| match token.reveal() {
                "" => Err(SecretsError::EmptyToken { place }),
                token => Ok(Sha256::digest(token).into()),
            })
            .collect::<Result<_, _>>()?;
        let signing_keys = (1..)
            .zip(signing_tokens)
            .map(|(place, token)| signing_key(token).ok_or(SecretsError::SigningToken { place }))
            .collect::<Result<_, _>>()?;
        Ok(Self { tokens, signing_keys })
    }
}

fn signing_key(token: &Secret) -> Option<SigningKey> {
    let key = STANDARD
        .decode(token.reveal().strip_prefix(SIGNING_TOKEN_PREFIX)?)
        .ok()?;
    (key.len() >= SHORTEST_KEY).then_some(SigningKey(key))
}

/// Whether a call comes from where the secrets are known. A signature that is there is all that counts, where we
/// know a signing token: a wrong one does not fall back on the plain token.
///
/// # Errors
/// [`WebhookError`], which is for our log and never for the caller.
pub fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &WebhookSecrets,
    now: Timestamp,
) -> Result<(), WebhookError> {
    if !secrets.signing_keys.is_empty() && headers.contains_key(SIGNATURE) {
        return verify_signature(headers, body, &secrets.signing_keys, now);
    }
    verify_token(headers, secrets)
}

fn verify_token(headers: &HeaderMap, secrets: &WebhookSecrets) -> Result<(), WebhookError> {
    let token = one(headers, &TOKEN)?
        .filter(|_| !secrets.tokens.is_empty())
        .ok_or(WebhookError::Unsigned)?;
    let digest: [u8; 32] = Sha256::digest(token).into();
    let right = secrets
        .tokens
        .iter()
        .fold(Choice::from(0), |right, known| right | known.ct_eq(&digest));
    if bool::from(right) {
        Ok(())
    } else {
        Err(WebhookError::WrongSignature)
    }
}

/// The webhooks of one project on GitLab.
pub struct GitLabWebhook {
    /// How calls prove where they come from.
    pub secrets: WebhookSecrets,
    /// The project's number: the secrets are for its deliveries alone.
    pub project: u64,
}

impl Webhook for GitLabWebhook {
    fn check_headers(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), WebhookError> {
        if !self.secrets.signing_keys.is_empty() && headers.contains_key(SIGNATURE) {
            return Signed::of(headers).and_then(|signed| signed.check_fresh(now));
        }
        // A plain token says all there is to know; the body adds nothing to it.
        verify_token(headers, &self.secrets)
    }

    fn receive(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Delivery, WebhookError> {
        verify(headers, body, &self.secrets, now)?;
        parse(headers, body, self.project, now)
    }
}

/// The scheme of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, as `v1,` and base64, several with spaces
/// between.
fn verify_signature(
    headers: &HeaderMap,
    body: &[u8],
    keys: &[SigningKey],
    now: Timestamp,
) -> Result<(), WebhookError> {
    let signed = Signed::of(headers)?;
    let mut right = Choice::from(0);
    for key in keys {
        // HMAC takes keys of any length, so this is never an error.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.0) else {
            continue;
        };
        for part in [signed.id, b".", signed.timestamp, b".", body] {
            mac.update(part);
        }
        let expected = mac.finalize().into_bytes();
        for candidate in &signed.candidates {
            right |= expected.as_slice().ct_eq(candidate);
        }
    }
    if !bool::from(right) {
        return Err(WebhookError::WrongSignature);
    }
    signed.check_fresh(now)
}

/// The headers of a signed call.
struct Signed<'a> {
    id: &'a [u8],
    timestamp: &'a [u8],
    at: Timestamp,
    candidates: Vec<Vec<u8>>,
}

impl<'a> Signed<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, WebhookError> {
        let required = |name: &HeaderName| {
            one(headers, name)?
                .filter(|value| !value.is_empty())
                .ok_or(WebhookError::MalformedHeader)
        };
        let (id, timestamp, signatures) = (required(&ID)?, required(&TIMESTAMP)?, required(&SIGNATURE)?);
        let at = std::str::from_utf8(timestamp)
            .ok()
            .and_then(|seconds| seconds.parse::<i64>().ok())
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or(WebhookError::MalformedHeader)?;
        let candidates = signatures
            .split(|byte| *byte == b' ')
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix(b"v1,")?).ok())
            .collect();
        Ok(Self {
            id,
            timestamp,
            at,
            candidates,
        })
    }

    fn check_fresh(&self, now: Timestamp) -> Result<(), WebhookError> {
        if now.duration_since(self.at).abs() > TOLERANCE {
            return Err(WebhookError::Stale);
        }
        Ok(())
    }
}

/// The value of a header that may stand there once: with two, we and a proxy could read different ones.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, WebhookError> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(WebhookError::MalformedHeader);
    }
    Ok(value.map(http::HeaderValue::as_bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use http::HeaderValue;
    use rstest::rstest;

    use super::*;

    pub(in crate::forge::gitlab) const NOW: i64 = 1_790_000_000;
    const OLD_KEY: [u8; 32] = [1; 32];
    const NEW_KEY: [u8; 32] = [2; 32];
    const BODY: &[u8] = br#"{"object_kind":"push"}"#;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    pub(in crate::forge::gitlab) fn signing_token(key: &[u8]) -> Secret {
        Secret::new(format!("whsec_{}", STANDARD.encode(key)))
    }

    pub(in crate::forge::gitlab) fn sign(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(&[id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }

    fn with(headers: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn signed(key: &[u8], at: i64) -> HeaderMap {
        let at = at.to_string();
        with(&[
            (&ID, "d-1"),
            (&TIMESTAMP, &at),
            (&SIGNATURE, &sign(key, "d-1", &at, BODY)),
        ])
    }

    fn only_tokens() -> WebhookSecrets {
        WebhookSecrets::new(&[Secret::new("old"), Secret::new("new")], &[]).unwrap()
    }

    fn only_signing() -> WebhookSecrets {
        WebhookSecrets::new(&[], &[signing_token(&OLD_KEY), signing_token(&NEW_KEY)]).unwrap()
    }

    fn both() -> WebhookSecrets {
        WebhookSecrets::new(&[Secret::new("old")], &[signing_token(&NEW_KEY)]).unwrap()
    }

    #[test]
    fn a_signature_made_elsewhere_is_taken() {
        // The example of the Standard Webhooks specification.
        let secrets =
            WebhookSecrets::new(&[], &[Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]).unwrap();
        let headers = with(&[
            (&ID, "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            (&TIMESTAMP, "1614265330"),
            (&SIGNATURE, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ]);
        let then = Timestamp::from_second(1_614_265_330).unwrap();
        assert_eq!(
            verify(&headers, br#"{"test": 2432232314}"#, &secrets, then),
            Ok(())
        );
    }

    #[rstest]
    #[case::old_token(only_tokens(), with(&[(&TOKEN, "old")]), Ok(()))]
    #[case::new_token(only_tokens(), with(&[(&TOKEN, "new")]), Ok(()))]
    #[case::wrong_token(only_tokens(), with(&[(&TOKEN, "newer")]), Err(WebhookError::WrongSignature))]
    #[case::empty_token(only_tokens(), with(&[(&TOKEN, "")]), Err(WebhookError::WrongSignature))]
    #[case::two_tokens(only_tokens(), with(&[(&TOKEN, "wrong"), (&TOKEN, "new")]), Err(WebhookError::MalformedHeader))]
    #[case::no_token(only_tokens(), HeaderMap::new(), Err(WebhookError::Unsigned))]
    #[case::signature_we_cannot_judge(only_tokens(), { let mut h = signed(&NEW_KEY, NOW); h.insert(TOKEN, HeaderValue::from_static("new")); h }, Ok(()))]
    #[case::signature_alone_we_cannot_judge(only_tokens(), signed(&NEW_KEY, NOW), Err(WebhookError::Unsigned))]
    #[case::old_key(only_signing(), signed(&OLD_KEY, NOW), Ok(()))]
    #[case::new_key(only_signing(), signed(&NEW_KEY, NOW), Ok(()))]
    #[case::other_key(only_signing(), signed(&[3; 32], NOW), Err(WebhookError::WrongSignature))]
    #[case::token_where_a_signature_is_needed(only_signing(), with(&[(&TOKEN, "old")]), Err(WebhookError::Unsigned))]
    #[case::unsigned(only_signing(), HeaderMap::new(), Err(WebhookError::Unsigned))]
    #[case::just_in_time(only_signing(), signed(&NEW_KEY, NOW - 300), Ok(()))]
    #[case::too_old(only_signing(), signed(&NEW_KEY, NOW - 301), Err(WebhookError::Stale))]
    #[case::from_the_future(only_signing(), signed(&NEW_KEY, NOW + 301), Err(WebhookError::Stale))]
    #[case::end_of_time(only_signing(), signed(&NEW_KEY, i64::MAX), Err(WebhookError::MalformedHeader))]
    #[case::migrating_by_token(both(), with(&[(&TOKEN, "old")]), Ok(()))]
    #[case::migrating_by_signature(both(), signed(&NEW_KEY, NOW), Ok(()))]
    #[case::no_way_back(both(), { let mut h = signed(&OLD_KEY, NOW); h.insert(TOKEN, HeaderValue::from_static("old")); h }, Err(WebhookError::WrongSignature))]
    #[case::no_way_back_from_an_empty_one(both(), with(&[(&TOKEN, "old"), (&SIGNATURE, "")]), Err(WebhookError::MalformedHeader))]
    fn a_delivery_proves_itself(
        #[case] secrets: WebhookSecrets,
        #[case] headers: HeaderMap,
        #[case] verdict: Result<(), WebhookError>,
    ) {
        assert_eq!(verify(&headers, BODY, &secrets, now()), verdict);
    }

    #[rstest]
    #[case(&ID)]
    #[case(&TIMESTAMP)]
    fn what_is_signed_must_be_there_and_unchanged(#[case] name: &HeaderName) {
        let mut headers = signed(&NEW_KEY, NOW);
        headers.insert(name, HeaderValue::from_static("1790000001"));
        assert_eq!(
            verify(&headers, BODY, &only_signing(), now()),
            Err(WebhookError::WrongSignature)
        );
        headers.remove(name);
        assert_eq!(
            verify(&headers, BODY, &only_signing(), now()),
            Err(WebhookError::MalformedHeader)
        );
    }

    #[test]
    fn another_body_is_refused_and_one_right_signature_of_several_is_enough() {
        let mut headers = signed(&NEW_KEY, NOW);
        assert_eq!(
            verify(&headers, b"{}", &only_signing(), now()),
            Err(WebhookError::WrongSignature)
        );
        let right = headers.get(SIGNATURE).unwrap().to_str().unwrap().to_owned();
        let several = format!("v1a,AAAA v1,%%% v1,AAAA {right}");
        headers.insert(SIGNATURE, HeaderValue::from_str(&several).unwrap());
        assert_eq!(verify(&headers, BODY, &only_signing(), now()), Ok(()));
    }

    #[rstest]
    #[case::none(&[], &[], SecretsError::None)]
    #[case::empty(&["good", ""], &[], SecretsError::EmptyToken { place: 2 })]
    #[case::empty_signing(&["good"], &[""], SecretsError::SigningToken { place: 1 })]
    #[case::no_prefix(&[], &["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], SecretsError::SigningToken { place: 1 })]
    #[case::too_short(&[], &["whsec_c2hvcnQ="], SecretsError::SigningToken { place: 1 })]
    #[case::not_base64(&[], &["whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"], SecretsError::SigningToken { place: 1 })]
    fn secrets_of_no_use_are_refused(
        #[case] tokens: &[&str],
        #[case] signing: &[&str],
        #[case] error: SecretsError,
    ) {
        let secrets = |texts: &[&str]| texts.iter().map(|text| Secret::new(*text)).collect::<Vec<_>>();
        assert_eq!(
            WebhookSecrets::new(&secrets(tokens), &secrets(signing)).unwrap_err(),
            error
        );
    }
}
