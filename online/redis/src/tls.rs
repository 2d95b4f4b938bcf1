//! TLS to the servers.

use std::path::Path;

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use crate::options::{Address, TlsFiles};

/// What is trusted, and who we are.
#[derive(Clone)]
pub(crate) struct Tls(TlsCertificates);

impl Tls {
    /// Reads the files; an error names the setting and the file. What cannot be used is told now, and not by each
    /// connection.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, String> {
        // The library takes the one of the process, of which there may be none. Where there is one, it is as good.
        let _ = default_provider().install_default();
        let authority = files.authority.as_deref().map(read_authority).transpose()?;
        let own = files.certificate.as_ref();
        let own = own.map(|(certificate, key)| read_own(certificate, key));
        Ok(Self(TlsCertificates {
            client_tls: own.transpose()?,
            root_cert: authority,
        }))
    }

    /// Where a server is, by a name that its certificate must have.
    pub(crate) fn info(&self, address: &Address) -> Result<ConnectionInfo, RedisError> {
        let address = ConnectionAddr::TcpTls {
            host: address.host.clone(),
            port: address.port,
            insecure: false,
            tls_params: None,
        };
        address.into_connection_info()
    }

    pub(crate) fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        Client::build_with_tls(info, self.0.clone())
    }
}

fn read_authority(file: &Path) -> Result<Vec<u8>, String> {
    let setting = "[online] tls_ca";
    let bytes = read(setting, file)?;
    certificates(setting, file, &bytes)?;
    Ok(bytes)
}

/// A certificate and its private key.
fn read_own(certificate: &Path, key: &Path) -> Result<ClientTlsConfig, String> {
    let [of_certificate, of_key] = ["[online] tls_cert", "[online] tls_key"];
    let own = ClientTlsConfig {
        client_cert: read(of_certificate, certificate)?,
        client_key: read(of_key, key)?,
    };
    let certificates = certificates(of_certificate, certificate, &own.client_cert)?;
    let refuse = |reason: &str| refused(of_key, key, reason);
    let private = match PrivateKeyDer::from_pem_slice(&own.client_key) {
        Ok(private) => private,
        Err(_) if has(&own.client_key, "ENCRYPTED") => {
            return Err(refuse("it is encrypted: give one without a passphrase"));
        }
        Err(_) => return Err(refuse("it has no private key in PEM")),
    };
    let private = default_provider().key_provider.load_private_key(private);
    let private = private.map_err(|_| refuse("it is encrypted, or of a kind that is not supported"))?;
    match CertifiedKey::new(certificates, private).keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(refuse(&format!(
            "it does not go with tls_cert {}",
            certificate.display()
        ))),
        _ => Ok(own),
    }
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|part| part == word.as_bytes())
}

/// Why a file cannot be used, with the setting that names it.
fn refused(setting: &str, file: &Path, reason: &str) -> String {
    format!("{setting} {}: {reason}", file.display())
}

fn read(setting: &str, file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| refused(setting, file, &error.to_string()))
}

/// One certificate or more.
fn certificates(setting: &str, file: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = match certificates {
        Ok(certificates) if !certificates.is_empty() => certificates,
        _ => return Err(refused(setting, file, "it has no certificate in PEM")),
    };
    // Read as an authority is: whether it is one is for the servers' certificates to say.
    let mut readable = RootCertStore::empty();
    match readable.add_parsable_certificates(certificates.iter().cloned()) {
        (_, 0) => Ok(certificates),
        _ => Err(refused(setting, file, "it has a certificate that cannot be read")),
    }
}
