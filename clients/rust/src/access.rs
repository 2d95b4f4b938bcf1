//! What a server asks of those who call it, and what it must show them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::Error;

/// What a server asks of those who call it, and whose certificate it must show.
#[derive(Debug, Clone, Default)]
pub struct Access {
    bearer: Bearer,
    trust: Trust,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, Default)]
enum Trust {
    /// Those that this machine trusts.
    #[default]
    System,
    /// Those that one of these has signed.
    Authorities(Vec<CertificateDer<'static>>),
    /// This one.
    Pinned(CertificateDer<'static>),
}

impl Access {
    /// With a token, which every call brings as `authorization: Bearer TOKEN`. Over `http://` and `grpc://` it goes as
    /// it is.
    ///
    /// # Errors
    ///
    /// [`Error::Access`] where it is empty, or not of visible ASCII.
    pub fn token(self, token: &str) -> Result<Self, Error> {
        let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let value = AsciiMetadataValue::try_from(format!("Bearer {token}"));
        let Some(mut value) = value.ok().filter(|_| fits) else {
            let told = "the token is empty, or has letters that a header cannot hold";
            return Err(Error::Access(told.to_owned()));
        };
        value.set_sensitive(true);
        Ok(Self {
            bearer: Bearer(Some(value)),
            ..self
        })
    }

    /// Trusts the certificates that one of the authorities in a PEM file has signed, and no others; a certificate that
    /// has signed itself is an authority, too.
    ///
    /// # Errors
    ///
    /// [`Error::Access`] where the file cannot be read, or has no certificate.
    pub fn authority(self, file: &Path) -> Result<Self, Error> {
        Ok(Self {
            trust: Trust::Authorities(certificates(file)?),
            ..self
        })
    }

    /// Trusts the first certificate of a PEM file and no other, whatever name it is for.
    ///
    /// # Errors
    ///
    /// [`Error::Access`] where the file cannot be read, or has no certificate.
    pub fn pinned(self, file: &Path) -> Result<Self, Error> {
        let first = certificates(file)?.into_iter().next();
        Ok(Self {
            trust: first.map_or(Trust::System, Trust::Pinned),
            ..self
        })
    }

    pub(crate) fn bearer(&self) -> Bearer {
        self.bearer.clone()
    }

    /// How TLS is spoken with such a server.
    pub(crate) fn tls(&self) -> Result<TlsConnector, Error> {
        let unfit = |error: &dyn std::fmt::Display| Error::Access(format!("TLS cannot be set up: {error}"));
        // Named, as others in this process may bring another provider.
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unfit(&error))?;
        let config = match &self.trust {
            Trust::Pinned(certificate) => {
                config
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Pinned {
                        certificate: certificate.clone(),
                        provider,
                    }))
            }
            trust => {
                let mut roots = RootCertStore::empty();
                match trust {
                    Trust::Authorities(authorities) => {
                        for authority in authorities {
                            roots.add(authority.clone()).map_err(|error| unfit(&error))?;
                        }
                    }
                    // What of them cannot be read is as what is not there.
                    _ => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
                }
                if roots.is_empty() {
                    return Err(Error::Access(
                        "this machine trusts no authority: name a file with the one that signed the server's certificate"
                            .to_owned(),
                    ));
                }
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_webpki_verifier(verifier.build().map_err(|error| unfit(&error))?)
            }
        };
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unfit = |what: &dyn std::fmt::Display| Error::Access(format!("{} {what}", file.display()));
    let bytes =
        std::fs::read(file).map_err(|error: io::Error| unfit(&format_args!("cannot be read: {error}")))?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(unfit(&"has no certificate in PEM")),
    }
}

/// Adds the token to a call, where there is one.
#[derive(Debug, Clone, Default)]
pub struct Bearer(Option<AsciiMetadataValue>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Knows one certificate. That its key is there as well is proved by the handshake.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match *end_entity == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
