//! A server that asks for a token and speaks TLS, and those who come with and without.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

use crate::project::{Project, Ran};
use crate::server::Server;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const SERVE: [&str; 4] = ["serve", "--listen", "127.0.0.1:0", "--json"];
const KEY: [&str; 4] = ["--service", "reorder_v1", "--key", "customer_id=1"];

/// A certificate that has signed itself, and its key.
fn certificate(project: &Project, name: &str) -> (PathBuf, PathBuf) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (
        project.write(&format!("{name}.pem"), &made.cert.pem()),
        project.write(&format!("{name}.key"), &made.signing_key.serialize_pem()),
    )
}

/// The starter project with these lines in `[serve]`, applied and materialized.
fn project(serve: &str) -> Project {
    let project = Project::applied();
    project.done(&["materialize"]);
    set(&project, serve);
    project
}

fn set(project: &Project, serve: &str) {
    let text = project.read("asof.toml");
    let text = text.split("\n[serve]").next().unwrap();
    project.write("asof.toml", &format!("{text}\n[serve]\n{serve}\n"));
}

/// The command with a token, or without one.
fn command(project: &Project, args: &[&str], token: Option<&str>) -> Command {
    let mut command = project.command(args);
    command.env_remove("ASOF_TOKEN").env_remove("ASOF_CA");
    if let Some(token) = token {
        command.env("ASOF_TOKEN", token);
    }
    command
}

fn run(project: &Project, args: &[&str], token: Option<&str>) -> Ran {
    Ran::of(command(project, args, token).output().unwrap())
}

/// What a request of HTTP/1 is answered, without TLS.
fn plain(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_call_but_health_asks_for_the_token() {
    let project = project("token = \"env:SHOP_TOKEN\"");
    let mut serve = command(&project, &SERVE, None);
    serve.env("SHOP_TOKEN", TOKEN);
    let server = Server::of(serve);
    let address = server.url.strip_prefix("http://").unwrap();
    let ask = |method: &str, path: &str, more: &str| {
        plain(
            address,
            &format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n"),
        )
    };
    for open in ["/healthz", "/readyz"] {
        assert!(ask("GET", open, "").starts_with("HTTP/1.1 200 "), "{open}");
    }
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    let wrong = format!("authorization: Bearer {}\r\n", &TOKEN[..31]);
    for (method, path) in [
        ("GET", "/metrics"),
        ("POST", "/v1/get-features"),
        ("GET", "/none"),
        ("POST", "/asof.v1.RegistryService/History"),
        ("GET", "/healthz/"),
    ] {
        let none = ask(method, path, "");
        assert!(none.starts_with("HTTP/1.1 401 "), "{path}: {none}");
        assert!(none.contains("www-authenticate: Bearer"), "{none}");
        assert!(
            none.contains("this server asks for its token: send the header `authorization: Bearer TOKEN`"),
            "{none}"
        );
        let other = ask(method, path, &wrong);
        assert!(other.starts_with("HTTP/1.1 401 "), "{path}: {other}");
        assert!(other.contains("the token is not this server's"), "{other}");
        assert!(!ask(method, path, &right).starts_with("HTTP/1.1 401 "), "{path}");
    }

    // Commands: gRPC, the JSON call, and Flight.
    let out = project.path().join("out.parquet").display().to_string();
    let extract = [
        "extract",
        "--service",
        "reorder_v1",
        "--at",
        "2024-01-01T00:00:00Z",
        "--out",
        &out,
    ];
    let get = [&["get"], KEY.as_slice()].concat();
    for args in [get.as_slice(), &["runs"], &["list"], &["materialize"], &extract] {
        let args = [args, &["--server", &server.url]].concat();
        let none = run(&project, &args, None);
        assert_eq!(none.code, 2, "{args:?}: {}", none.stderr);
        assert_eq!(
            none.stderr,
            "error: this server asks for its token: send the header `authorization: Bearer TOKEN`; commands take it from \
             the variable ASOF_TOKEN\n"
        );
        let wrong = run(&project, &args, Some("0123456789abcdef"));
        assert_eq!(wrong.code, 2, "{args:?}: {}", wrong.stderr);
        assert!(
            wrong.stderr.starts_with("error: the token is not this server's"),
            "{}",
            wrong.stderr
        );
        let right = run(&project, &args, Some(TOKEN));
        assert_eq!(right.code, 0, "{args:?}: {}", right.stderr);
    }
    // Without --server a command finds the server and takes the variable that the project names.
    let mut own = command(&project, &get, None);
    let own = Ran::of(own.env("SHOP_TOKEN", TOKEN).output().unwrap());
    assert_eq!(own.code, 0, "{}", own.stderr);
}

#[test]
fn tls_is_spoken_with_who_knows_the_certificate() {
    let project = project("tls_cert = \"own.pem\"\ntls_key = \"own.key\"");
    let (own, _) = certificate(&project, "own");
    let (other, _) = certificate(&project, "other");
    let server = Server::of(command(&project, &SERVE, None));
    let address = server.url.strip_prefix("https://").expect("an address of TLS");

    // Those of the project know it.
    let get = [&["get"], KEY.as_slice()].concat();
    let here = run(&project, &get, None);
    assert_eq!(here.code, 0, "{}", here.stderr);

    // Those elsewhere are told of the authority.
    let elsewhere = Project::starter();
    let ask = |url: &str, ca: Option<&PathBuf>| {
        let ca = ca.map(|path| path.display().to_string());
        let mut args = [&get[..], &["--server", url]].concat();
        args.extend(ca.iter().flat_map(|path| ["--ca", path]));
        run(&elsewhere, &args, None)
    };
    for url in [
        server.url.clone(),
        format!("grpcs://{address}"),
        server.url.replace("127.0.0.1", "localhost"),
    ] {
        let known = ask(&url, Some(&own));
        assert_eq!(known.code, 0, "{url}: {}", known.stderr);
    }
    // The other one has the same name, and has not signed it.
    for (ca, reason) in [(None, "UnknownIssuer"), (Some(&other), "BadSignature")] {
        let unknown = ask(&server.url, ca);
        assert_eq!(unknown.code, 5, "{}", unknown.stderr);
        assert_eq!(
            unknown.stderr,
            format!(
                "error: no TLS can be agreed on with {}: invalid peer certificate: {reason}; name the authority that \
                 signed its certificate with --ca, or write http:// where the server speaks no TLS\n",
                server.url
            )
        );
    }
    let plainly = ask(&format!("http://{address}"), None);
    assert_eq!(plainly.code, 5, "{}", plainly.stderr);
    assert!(
        plainly
            .stderr
            .contains("One that speaks TLS is reached at https://"),
        "{}",
        plainly.stderr
    );
    let missing = ask(&server.url, Some(&elsewhere.path().join("none.pem")));
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(
        missing.stderr.contains("none.pem cannot be read: No such file"),
        "{}",
        missing.stderr
    );
    let no_certificate = ask(&server.url, Some(&elsewhere.path().join("asof.toml")));
    assert_eq!(no_certificate.code, 2, "{}", no_certificate.stderr);
    assert!(
        no_certificate
            .stderr
            .contains("asof.toml has no certificate in PEM"),
        "{}",
        no_certificate.stderr
    );

    // Those of the project know one certificate, and no other.
    let kept = std::fs::read(&own).unwrap();
    std::fs::copy(&other, &own).unwrap();
    let changed = run(&project, &get, None);
    assert_eq!(changed.code, 5, "{}", changed.stderr);
    assert!(changed.stderr.contains("UnknownIssuer"), "{}", changed.stderr);
    std::fs::write(&own, kept).unwrap();

    // HTTP without TLS is told why; a hello that stops half-way holds nothing up.
    let answer = plain(address, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("this port speaks TLS: use https\n"), "{answer}");
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    half.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
    assert_eq!(run(&project, &get, None).code, 0);
    assert!(
        matches!(half.read(&mut [0; 64]), Ok(0)),
        "a half hello is closed in time"
    );
}

/// A client that agrees on TLS and then says nothing is let go, as one that never says anything.
#[test]
fn who_says_nothing_behind_the_handshake_is_let_go() {
    let project = project("tls_cert = \"own.pem\"\ntls_key = \"own.key\"");
    let (own, _) = certificate(&project, "own");
    let mut server = Server::of(command(&project, &SERVE, None));
    let address = server.url.strip_prefix("https://").unwrap().to_owned();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&own).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let shake_hands = || {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        (client, stream)
    };
    let (mut client, mut stream) = shake_hands();
    let begun = Instant::now();
    // Ends with the connection, whether TLS takes its leave or not.
    let _ = Stream::new(&mut client, &mut stream).read(&mut [0; 16]);
    let after = begun.elapsed();
    assert!(
        after >= Duration::from_secs(4) && after < Duration::from_secs(10),
        "{after:?}"
    );
    // Neither does one hold up a stop.
    let _mute = shake_hands();
    let begun = Instant::now();
    server.signal("-TERM");
    assert!(server.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn a_port_that_others_reach_needs_both() {
    let project = project("listen = \"0.0.0.0:0\"");
    let refused = |missing: &str| {
        let ran = run(&project, &["serve"], None);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert_eq!(
            ran.stderr,
            format!(
                "error: 0.0.0.0:0 can be reached from other machines, and {missing} missing: set token, tls_cert and \
                 tls_key in [serve] of asof.toml, or listen on 127.0.0.1; in a network that is safe, `insecure = true` in \
                 [serve] lets everybody in\n"
            )
        );
    };
    refused("a token and TLS are");
    certificate(&project, "own");
    let tls = "listen = \"0.0.0.0:0\"\ntls_cert = \"own.pem\"\ntls_key = \"own.key\"";
    set(&project, tls);
    refused("a token is");
    set(&project, "listen = \"0.0.0.0:0\"\ninsecure = true");
    let server = Server::of(command(&project, &["serve", "--json"], None));
    assert!(server.url.starts_with("http://127.0.0.1:"), "{}", server.url);
    drop(server);
    set(&project, &format!("{tls}\ntoken = \"env:SHOP_TOKEN\""));
    let mut serve = command(&project, &["serve", "--json"], None);
    serve.env("SHOP_TOKEN", TOKEN);
    let server = Server::of(serve);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    let mut get = command(&project, &[&["get"], KEY.as_slice()].concat(), None);
    let got = Ran::of(get.env("SHOP_TOKEN", TOKEN).output().unwrap());
    assert_eq!(got.code, 0, "{}", got.stderr);
}

#[test]
fn what_cannot_protect_a_port_is_named() {
    let project = project("token = \"env:SHOP_TOKEN\"");
    let refused = |token: Option<&str>, code: i32, told: &str| {
        let mut serve = command(&project, &["serve"], None);
        if let Some(token) = token {
            serve.env("SHOP_TOKEN", token);
        }
        let ran = Ran::of(serve.output().unwrap());
        assert_eq!((ran.code, ran.stderr), (code, format!("error: {told}\n")));
    };
    let variable = "asof.toml, [serve] token: the environment variable SHOP_TOKEN";
    let expected = "expected 16 or more letters, digits and signs, such as `openssl rand -hex 32` gives";
    refused(None, 2, &format!("{variable} is not set: {expected}"));
    refused(Some(""), 2, &format!("{variable} has 0 characters: {expected}"));
    certificate(&project, "own");
    certificate(&project, "other");
    project.write(
        "garbled.pem",
        "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n",
    );
    let tls = |certificate: &str, key: &str, code: i32, told: &str| {
        set(
            &project,
            &format!("tls_cert = \"{certificate}\"\ntls_key = \"{key}\""),
        );
        refused(None, code, told);
    };
    let check = "check that it exists and that the server's user may read it";
    let unmatched = "own.pem and other.key do not go together: keys may not be consistent: KeyMismatch";
    tls("own.pem", "other.key", 2, unmatched);
    tls(
        "none.pem",
        "own.key",
        5,
        &format!("none.pem cannot be read: No such file or directory (os error 2); {check}"),
    );
    tls(
        "own.pem",
        "features",
        5,
        &format!("features cannot be read: Is a directory (os error 21); {check}"),
    );
    tls(
        "garbled.pem",
        "own.key",
        2,
        "garbled.pem has no certificate in PEM",
    );
    tls("own.key", "own.key", 2, "own.key has no certificate in PEM");
    tls("own.pem", "own.pem", 2, "own.pem has no private key in PEM");
}
