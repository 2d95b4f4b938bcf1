//! Who may call, and how calls come in: a token, and TLS.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tonic::{Code, Status};

use crate::http::{is_grpc, refusal};

/// What anybody may ask: whether the server lives.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/grpc.health.v1.Health/Check"];

/// A shorter token can be guessed.
const LEAST_TOKEN: usize = 16;

/// What a port asks of those who come.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The token that every call brings.
    pub token: Option<Token>,
    /// TLS.
    pub tls: Option<Tls>,
    /// Whether other machines may come where one of these is missing.
    pub insecure: bool,
}

/// Why what was given cannot protect a port.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A token that is none.
    #[error(
        "asof.toml, [serve] token: the environment variable {variable} {problem}: expected {LEAST_TOKEN} or more letters, digits and signs, such as `openssl rand -hex 32` gives"
    )]
    Token {
        /// Where it is from.
        variable: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that cannot be read.
    #[error("{path} cannot be read: {reason}; check that it exists and that the server's user may read it")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A file with something else in it.
    #[error("{path} has no {what} in PEM")]
    Unfit {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A key of another certificate, or a certificate that is none.
    #[error("{certificate} and {key} do not go together: {reason}")]
    Unmatched {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Access {
    /// What is missing for a port that other machines reach; nothing where they may come.
    pub(crate) fn missing(&self, address: SocketAddr) -> Option<&'static str> {
        if address.ip().is_loopback() || self.insecure {
            return None;
        }
        match (&self.token, &self.tls) {
            (Some(_), Some(_)) => None,
            (None, Some(_)) => Some("a token is"),
            (Some(_), None) => Some("TLS is"),
            (None, None) => Some("a token and TLS are"),
        }
    }
}

/// The token that calls bring as `authorization: Bearer TOKEN`; of it only the digest is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token that a variable of the environment holds.
    ///
    /// # Errors
    ///
    /// [`AccessError::Token`] where there is none, or one that is too short or not of visible ASCII.
    pub fn of_variable(variable: &str, value: Option<&str>) -> Result<Self, AccessError> {
        let unfit = |problem: &str| AccessError::Token {
            variable: variable.to_owned(),
            problem: problem.to_owned(),
        };
        let text = value.ok_or_else(|| unfit("is not set"))?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unfit("has spaces or other signs that a header cannot hold"));
        }
        if text.len() < LEAST_TOKEN {
            return Err(unfit(&format!("has {} characters", text.len())));
        }
        Ok(Self(Sha256::digest(text).into()))
    }

    /// Whether a call brings it. Digests are compared, in the same time wherever they differ.
    fn is_in(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let brought = headers.get(AUTHORIZATION).ok_or(NO_TOKEN)?;
        let brought = bearer(brought.as_bytes()).ok_or(NO_TOKEN)?;
        let digest: [u8; 32] = Sha256::digest(brought).into();
        match bool::from(digest.ct_eq(&self.0)) {
            true => Ok(()),
            false => Err("the token is not this server's"),
        }
    }
}

const NO_TOKEN: &str = "this server asks for its token: send the header `authorization: Bearer TOKEN`";

/// The token of a header; the name of the scheme may be spelt in any case.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// Lets calls pass that bring the token.
pub(crate) async fn require(State(token): State<Token>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_open = OPEN.contains(&path);
    let Err(told) = token.is_in(request.headers()) else {
        return next.run(request).await;
    };
    if is_open {
        return next.run(request).await;
    }
    if is_grpc(request.headers()) {
        return Status::unauthenticated(told).into_http();
    }
    let mut response = refusal(Code::Unauthenticated, told.to_owned()).into_response();
    let scheme = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    response
}

/// TLS with a certificate, as HTTP/2 and HTTP/1 have it.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// With a certificate, which may be followed by those that lead to the one that clients trust, and its private key.
    ///
    /// # Errors
    ///
    /// Files that cannot be read, hold something else, or do not go together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, AccessError> {
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .ok()
            .filter(|chain| !chain.is_empty());
        let chain = chain.ok_or_else(|| AccessError::Unfit {
            path: certificate.to_owned(),
            what: "certificate",
        })?;
        let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| AccessError::Unfit {
            path: key.to_owned(),
            what: "private key",
        })?;
        let unmatched = |error: rustls::Error| AccessError::Unmatched {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            reason: error.to_string(),
        };
        // Named, as others in this process may bring another provider.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unmatched)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(unmatched)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.0
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AccessError> {
    std::fs::read(path).map_err(|reason| AccessError::Unreadable {
        path: path.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Result<Token, String> {
        Token::of_variable("T", Some(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_long_and_visible() {
        let wrong = |problem: &str| {
            format!(
                "asof.toml, [serve] token: the environment variable T {problem}: expected 16 or more letters, digits and signs, such as `openssl rand -hex 32` gives"
            )
        };
        let none = Token::of_variable("T", None).unwrap_err();
        assert_eq!(none.to_string(), wrong("is not set"));
        assert_eq!(token("").unwrap_err(), wrong("has 0 characters"));
        assert_eq!(token("short").unwrap_err(), wrong("has 5 characters"));
        let spaced = "has spaces or other signs that a header cannot hold";
        assert_eq!(token("0123456789 0123456789").unwrap_err(), wrong(spaced));
        assert_eq!(token("0123456789012345é").unwrap_err(), wrong(spaced));
        token("0123456789012345").unwrap();
    }

    #[test]
    fn only_the_whole_token_passes() {
        let token = token("0123456789abcdef").unwrap();
        let passes = |header: &'static str| {
            let header = HeaderValue::from_static(header);
            token
                .is_in(&HeaderMap::from_iter([(AUTHORIZATION, header)]))
                .is_ok()
        };
        for right in [
            "Bearer 0123456789abcdef",
            "bearer 0123456789abcdef",
            "BEARER  0123456789abcdef ",
        ] {
            assert!(passes(right), "{right}");
        }
        for wrong in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
            "Bearer 0123456789ABCDEF",
            "Bearer ",
            "Bearer",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
            "",
        ] {
            assert!(!passes(wrong), "{wrong}");
        }
        assert!(token.is_in(&HeaderMap::new()).is_err());
    }

    #[test]
    fn beyond_the_loopback_both_are_asked_for() {
        let (here, there) = ("127.0.0.1:1".parse().unwrap(), "0.0.0.0:1".parse().unwrap());
        let mut access = Access::default();
        assert_eq!(access.missing(here), None);
        assert_eq!(access.missing(there), Some("a token and TLS are"));
        access.token = Some(token("0123456789abcdef").unwrap());
        assert_eq!(access.missing(there), Some("TLS is"));
        access.insecure = true;
        assert_eq!(access.missing(there), None);
    }
}
