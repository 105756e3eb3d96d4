//! The certificates of a cluster's own authority: read once, so that what is trusted is what is written down.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Far more than an authority and its successor take, in characters of base64.
const LONGEST: usize = 64 * 1024;

/// The certificates that stand as PEM in base64, each of which TLS can use.
///
/// # Errors
/// Why there are none, in words.
pub(super) fn read(data: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    if data.is_empty() {
        return Err("it is empty");
    }
    if data.len() > LONGEST {
        return Err("it is too long");
    }
    let pem = STANDARD.decode(data).map_err(|_| "it is not base64")?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "it is not PEM")?;
    if certificates.is_empty() {
        return Err("no certificate is in it");
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store
            .add(certificate.clone())
            .map_err(|_| "a certificate in it cannot be read")?;
    }
    Ok(certificates)
}

/// Certificates as a kubeconfig holds them: PEM in base64, made anew, so that nothing else is in it.
pub(super) fn write(certificates: &[CertificateDer<'static>]) -> String {
    const LINE: usize = 64;
    let mut pem = String::new();
    for certificate in certificates {
        let body = STANDARD.encode(certificate);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(LINE));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    STANDARD.encode(pem)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("../../../../tests/support/tls/authority.pem");
    const KEY: &str = include_str!("../../../../tests/support/tls/server-key.pem");

    pub(in super::super) fn data() -> String {
        STANDARD.encode(AUTHORITY)
    }

    #[test]
    fn an_authority_is_read_and_written_and_nothing_beside_it() {
        let certificates = read(&data()).unwrap();
        assert_eq!(write(&certificates), data());
        let with_more = STANDARD.encode(format!("a word before\n{KEY}{AUTHORITY}"));
        assert_eq!(write(&read(&with_more).unwrap()), data());
    }

    #[test]
    fn an_authority_of_no_use_is_refused() {
        let cases = [
            (String::new(), "it is empty"),
            ("A".repeat(LONGEST + 1), "it is too long"),
            ("-----".into(), "it is not base64"),
            (STANDARD.encode("words"), "no certificate is in it"),
            (STANDARD.encode(KEY), "no certificate is in it"),
            (
                STANDARD.encode("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "a certificate in it cannot be read",
            ),
            (STANDARD.encode("-----BEGIN CERTIFICATE-----\n!"), "it is not PEM"),
        ];
        for (data, reason) in cases {
            assert_eq!(read(&data), Err(reason));
        }
    }
}
