//! TLS to the servers.

use std::path::Path;

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates,
};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

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
    let mut trusted = RootCertStore::empty();
    for certificate in certificates(setting, file, &bytes)? {
        let added = trusted.add(certificate);
        added.map_err(|error| refused(setting, file, &error.to_string()))?;
    }
    Ok(bytes)
}

/// A certificate and its private key.
fn read_own(certificate: &Path, key: &Path) -> Result<ClientTlsConfig, String> {
    let settings = ["[online] tls_cert", "[online] tls_key"];
    let read = ClientTlsConfig {
        client_cert: read(settings[0], certificate)?,
        client_key: read(settings[1], key)?,
    };
    let certificates = certificates(settings[0], certificate, &read.client_cert)?;
    let private = PrivateKeyDer::from_pem_slice(&read.client_key);
    let private = private.map_err(|_| refused(settings[1], key, "it has no private key in PEM"))?;
    CertifiedKey::from_der(certificates, private, &default_provider()).map_err(|error| {
        let reason = format!("it does not go with tls_cert {}: {error}", certificate.display());
        refused(settings[1], key, &reason)
    })?;
    Ok(read)
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
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(refused(setting, file, "it has no certificate in PEM")),
    }
}
