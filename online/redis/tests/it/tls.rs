//! Servers that are reached over TLS.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use asof_core::online::conformance::{self, address, key, order, read_one, row};
use asof_core::online::{OnlineStore, StoreError};
use asof_core::time::Timestamp;
use asof_redis::{RedisOptions, RedisStore, TlsFiles};

use crate::harness;
use crate::servers::{Cluster, Server, free_port};

const NOW: Timestamp = Timestamp::from_micros(1_000);

/// Certificates that have signed themselves, in a directory that goes with its value.
struct Certificates(tempfile::TempDir);

impl Certificates {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One for a name, and its key.
    fn make(&self, file: &str, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let place = |ending| self.0.path().join(format!("{file}.{ending}"));
        let (certificate, key) = (place("pem"), place("key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }
}

/// Settings of a server with a port for TLS, which asks for a certificate of `clients`, or of nobody.
fn settings(own: &(PathBuf, PathBuf), clients: Option<&Path>) -> Vec<String> {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (certificate, key) = (text(&own.0), text(&own.1));
    let asks = if clients.is_some() { "yes" } else { "no" };
    let trusted = clients.map_or_else(|| certificate.clone(), text);
    [
        ("--tls-port", free_port().to_string()),
        ("--tls-cert-file", certificate),
        ("--tls-key-file", key),
        ("--tls-ca-cert-file", trusted),
        ("--tls-auth-clients", asks.into()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}

fn start(own: &(PathBuf, PathBuf), clients: Option<&Path>) -> Server {
    let settings = settings(own, clients);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Server::with(&settings)
}

fn options(scheme: &str, server: &Server, tls: TlsFiles) -> RedisOptions {
    let url = format!("{scheme}://127.0.0.1:{}", server.setting("--tls-port"));
    RedisOptions {
        tls,
        ..harness::options(&url)
    }
}

fn trusting(certificate: &Path) -> TlsFiles {
    TlsFiles {
        authority: Some(certificate.to_owned()),
        certificate: None,
    }
}

fn conforms(options: &RedisOptions) {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let fresh = || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        RedisStore::open(&RedisOptions {
            namespace: format!("tls{number}"),
            ..options.clone()
        })
        .unwrap()
    };
    let reopen = |store: RedisStore| {
        let options = store.options().clone();
        drop(store);
        RedisStore::open(&options).unwrap()
    };
    conformance::run(&fresh, &reopen);
}

#[test]
fn one_server_over_tls_conforms() {
    let certificates = Certificates::new();
    let own = certificates.make("own", "127.0.0.1");
    let server = start(&own, None);
    conforms(&options("rediss", &server, trusting(&own.0)));
}

#[test]
fn a_cluster_over_tls_conforms() {
    let certificates = Certificates::new();
    let own = certificates.make("own", "127.0.0.1");
    let cluster = Cluster::with(3, &|| {
        let mut settings = settings(&own, None);
        // Only then servers say which ports of others speak TLS.
        settings.extend(["--tls-cluster".to_owned(), "yes".to_owned()]);
        settings
    });
    conforms(&options("rediss+cluster", &cluster.servers[1], trusting(&own.0)));
}

/// Neither a server that says nothing in the middle of a handshake nor one that is killed holds a call for long.
#[test]
fn a_server_that_is_paused_or_killed_is_waited_for_as_without_tls() {
    let certificates = Certificates::new();
    let own = certificates.make("own", "127.0.0.1");
    let mut server = start(&own, None);
    let store = RedisStore::open(&options("rediss", &server, trusting(&own.0))).unwrap();
    let (slot, generation) = harness::serving(&store, "v");
    let written = row(&key("k"), order(10, 10, 1), 7);
    store
        .write(slot, generation, NOW, std::slice::from_ref(&written), None)
        .unwrap();
    let read = || read_one(&store, slot, generation, &key("k"), NOW.micros());
    let expected = read().unwrap();
    assert_eq!(expected.0, Some(7));
    for round in 0..2 {
        server.pause();
        for _ in 0..3 {
            let started = Instant::now();
            let failed = read().unwrap_err();
            assert!(matches!(failed, StoreError::Failed { .. }), "{failed:?}");
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "{round}: {:?}",
                started.elapsed()
            );
        }
        server.resume();
        let back = Instant::now();
        while read().ok() != Some(expected) {
            assert!(back.elapsed() < Duration::from_secs(5), "round {round}");
        }
        server.kill();
        let failed = read().unwrap_err();
        assert!(matches!(failed, StoreError::Failed { .. }), "{failed:?}");
        server.restart();
        let back = Instant::now();
        while read().ok() != Some(expected) {
            assert!(back.elapsed() < Duration::from_secs(5), "round {round}");
        }
    }
}

#[test]
fn who_is_not_trusted_is_refused_at_once() {
    let certificates = Certificates::new();
    let own = certificates.make("own", "127.0.0.1");
    let other = certificates.make("other", "127.0.0.1");
    let elsewhere = certificates.make("elsewhere", "db.example");
    let refused = |server: &Server, tls: TlsFiles, says: &str| {
        let started = Instant::now();
        let error = RedisStore::open(&options("rediss", server, tls))
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}, expected {says:?}");
        assert!(
            started.elapsed() < Duration::from_millis(1_500),
            "{:?}",
            started.elapsed()
        );
    };
    let server = start(&own, None);
    refused(&server, trusting(&other.0), "[online] tls_ca names who signed it");
    refused(&server, TlsFiles::default(), "certificate");
    refused(&server, trusting(&own.1), "own.key: it has no certificate in PEM");
    refused(
        &server,
        trusting(Path::new("/none.pem")),
        "[online] tls_ca /none.pem: No such file",
    );
    let mixed = |certificate: &PathBuf, key: &PathBuf| TlsFiles {
        authority: Some(own.0.clone()),
        certificate: Some((certificate.clone(), key.clone())),
    };
    refused(
        &server,
        mixed(&other.0, &own.1),
        "own.key: it does not go with tls_cert ",
    );
    refused(
        &server,
        mixed(&other.0, &own.0),
        "own.pem: it has no private key in PEM",
    );
    refused(&server, mixed(&other.1, &other.1), "[online] tls_cert");
    let file = |name: &str, kind: &str| {
        let file = certificates.0.path().join(name);
        std::fs::write(
            &file,
            format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n"),
        )
        .unwrap();
        file
    };
    let junk = file("junk.pem", "CERTIFICATE");
    refused(&server, trusting(&junk), "tls_ca ");
    refused(
        &server,
        trusting(&junk),
        "junk.pem: it has a certificate that cannot be read",
    );
    refused(
        &server,
        mixed(&junk, &own.1),
        "junk.pem: it has a certificate that cannot be read",
    );
    let odd = file("odd.key", "PRIVATE KEY");
    refused(
        &server,
        mixed(&own.0, &odd),
        "odd.key: it is encrypted, or of a kind that is not supported",
    );
    let encrypted = file("locked.key", "ENCRYPTED PRIVATE KEY");
    refused(
        &server,
        mixed(&own.0, &encrypted),
        "locked.key: it is encrypted: give one without a passphrase",
    );
    let named = start(&elsewhere, None);
    refused(&named, trusting(&elsewhere.0), "certificate");
    // A server that asks for a certificate, and those who have none, another, and the right one.
    let asking = start(&own, Some(&other.0));
    refused(&asking, trusting(&own.0), "rediss://127.0.0.1:");
    refused(&asking, trusting(&own.0), "alert: CertificateRequired");
    let with = |certificate: &(PathBuf, PathBuf)| TlsFiles {
        authority: Some(own.0.clone()),
        certificate: Some(certificate.clone()),
    };
    refused(&asking, with(&elsewhere), "alert");
    let store = RedisStore::open(&options("rediss", &asking, with(&other))).unwrap();
    store.open_view(&address("a", "string", "v")).unwrap();
}
