//! TLS to the servers.

use std::path::Path;

use asof_core::online::StoreError;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, TlsCertificates,
};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::failure;
use crate::options::{Address, TlsFiles};

/// What is trusted, and who we are.
#[derive(Clone)]
pub(crate) struct Tls(TlsCertificates);

impl Tls {
    /// Reads the files.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, StoreError> {
        // The library takes the one of the process, of which there may be none. Where there is one, it is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client_tls = files.certificate.as_ref().map(|(certificate, key)| {
            Ok(ClientTlsConfig {
                client_cert: read_certificates(certificate)?,
                client_key: read(key)?,
            })
        });
        let certificates = TlsCertificates {
            client_tls: client_tls.transpose()?,
            root_cert: files.authority.as_deref().map(read_certificates).transpose()?,
        };
        let tls = Self(certificates);
        // What is no certificate is told now, and not by each connection.
        let nowhere = Address {
            host: "localhost".into(),
            port: 1,
        };
        let checked = tls.info(&nowhere).and_then(|info| tls.client(info));
        checked.map_err(|error| failure::failed("the files of TLS for Redis", &error.to_string()))?;
        Ok(tls)
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

fn read(file: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(file).map_err(|error| failure::failed(&file.display().to_string(), &error.to_string()))
}

/// A file with one certificate or more.
fn read_certificates(file: &Path) -> Result<Vec<u8>, StoreError> {
    let bytes = read(file)?;
    let mut certificates = CertificateDer::pem_slice_iter(&bytes);
    match certificates.next() {
        Some(Ok(_)) => Ok(bytes),
        _ => Err(failure::failed(
            &file.display().to_string(),
            "it has no certificate in PEM",
        )),
    }
}
