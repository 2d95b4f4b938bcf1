//! `asof.toml`: defaults, and what each mistake gets.

use std::net::SocketAddr;
use std::path::Path;

use asof_registry::{OnlineDurability, load, parse_listen};

fn env(name: &str) -> Option<String> {
    match name {
        "REGISTRY" => Some("sqlite:///var/asof/registry.db".into()),
        "STORE_URL" => Some("redis://u:secret@h".into()),
        "SECRET_URL" => Some("postgres://user:hunter2@db/asof".into()),
        _ => None,
    }
}

fn write(text: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("asof.toml"), text).unwrap();
    folder
}

fn check(text: &str, expect: &str) {
    let folder = write(text.as_bytes());
    assert_eq!(
        load(folder.path(), env).unwrap_err().to_string(),
        expect,
        "{text}"
    );
}

#[test]
fn only_the_name_is_required() {
    let folder = write(b"project = \"flights\"\n");
    let (config, files) = load(folder.path(), env).unwrap();
    assert_eq!(config.project.as_str(), "flights");
    assert_eq!(config.registry_url, "sqlite://.asof/registry.db");
    assert_eq!(config.registry_path(), folder.path().join(".asof/registry.db"));
    assert_eq!(config.offline_path(), folder.path().join(".asof/offline"));
    assert_eq!(config.offline_allow, Vec::<String>::new());
    assert_eq!(config.online_url, "rocksdb://.asof/online");
    assert_eq!(config.online_path(), folder.path().join(".asof/online"));
    assert_eq!(config.online_durability, OnlineDurability::Process);
    assert_eq!(config.online_memory, 512 << 20);
    assert_eq!(config.listen, "127.0.0.1:2763".parse::<SocketAddr>().unwrap());
    assert_eq!(files, []);
}

#[test]
fn every_setting_is_read_and_references_are_resolved() {
    let folder = write(
        b"\xef\xbb\xbfproject = \"flights\"\r\n[registry]\r\nurl = \"env:REGISTRY\"\r\n[offline]\r\nroot = \"tables\"\r\n\
          allow = [\"/srv/data\", \"../shared\"]\r\n[online]\r\nurl = \"rocksdb://o\"\r\ndurability = \"sync\"\r\nmemory = \"2 GiB\"\r\n[serve]\r\nlisten = \"[::1]:0\"\r\n",
    );
    let (config, _) = load(folder.path(), env).unwrap();
    assert_eq!(config.registry_path(), Path::new("/var/asof/registry.db"));
    assert_eq!(config.offline_root, "tables");
    assert_eq!(config.offline_allow, ["/srv/data", "../shared"]);
    assert_eq!(config.online_url, "rocksdb://o");
    assert_eq!(config.online_durability, OnlineDurability::Sync);
    assert_eq!(config.online_memory, 2 << 30);
    assert_eq!(config.listen, "[::1]:0".parse::<SocketAddr>().unwrap());
}

#[test]
fn no_configuration_says_how_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    assert_eq!(
        load(folder.path(), env).unwrap_err().to_string(),
        format!(
            "{place} is not a project: it has no asof.toml; run `asof init` there to start one, or name a project with --project DIR"
        )
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    check(
        "project = \"p\"\n[registy]\nurl = \"sqlite://x\"",
        "asof.toml:2:2: unknown key \"registy\" in the file; did you mean \"registry\"?",
    );
    check(
        "project = \"p\"\n[serve]\nlistn = \"127.0.0.1:1\"",
        "asof.toml:3:1: unknown key \"listn\" in [serve]; did you mean \"listen\"?",
    );
    check(
        "project = \"p\"\ntelemetry = true",
        "asof.toml:2:1: unknown key \"telemetry\" in the file; expected one of project, registry, offline, online, serve",
    );
}

#[test]
fn the_online_store_is_set_up_in_words() {
    check(
        "project = \"p\"\n[online]\ndurability = \"fsync\"",
        "asof.toml:3:14: \"fsync\" is not a durability; expected \"process\", which survives kill -9, or \"sync\", which survives a power cut",
    );
    for memory in [
        "512",
        "0 MiB",
        "15MiB",
        "-1 GiB",
        "1.5 GiB",
        "99999999999999 GiB",
        "2 GB",
    ] {
        check(
            &format!("project = \"p\"\n[online]\nmemory = {memory:?}"),
            &format!(
                "asof.toml:3:10: {memory:?} is not an amount of memory; expected an integer and MiB or GiB, such as \"512 MiB\", and 16 MiB or more"
            ),
        );
    }
}

#[test]
fn the_name_is_required_and_checked() {
    check(
        "",
        "asof.toml:1:1: the file has no \"project\"; expected project = \"a_name\"",
    );
    check(
        "project = \"Flights\"",
        "asof.toml:1:11: \"Flights\" is not a project name; a name starts with a lower-case letter a-z",
    );
    check(
        "project = 7",
        "asof.toml:1:11: \"project\" has the wrong type; expected a string, found an integer",
    );
}

#[test]
fn the_online_store_may_be_on_servers() {
    let config = |url: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("project = \"p\"\n[online]\nurl = \"{url}\"");
        std::fs::write(folder.path().join("asof.toml"), text).unwrap();
        load(folder.path(), env).unwrap().0
    };
    for url in [
        "redis://h:1/2",
        "redis+cluster://a:1,b:2",
        "valkey://h",
        "valkey+cluster://h",
        "rediss://h",
        "rediss+cluster://h",
        "valkeys://h",
        "valkeys+cluster://h",
    ] {
        assert_eq!(config(url).online_servers(), Some(url));
    }
    assert_eq!(config("rocksdb://o").online_servers(), None);
    assert_eq!(
        config("env:STORE_URL").online_servers(),
        Some("redis://u:secret@h")
    );
}

#[test]
fn files_of_tls_lie_below_the_project() {
    let text = "project = \"p\"\n[online]\nurl = \"rediss://h\"\ntls_ca = \"ca.pem\"\ntls_cert = \"./own.pem\"\ntls_key = \"/own.key\"\n";
    let folder = write(text.as_bytes());
    let (config, _) = load(folder.path(), env).unwrap();
    assert_eq!(config.online_authority, Some(config.directory.join("ca.pem")));
    let files = config.online_tls.unwrap();
    assert_eq!(files.certificate, config.directory.join("own.pem"));
    assert_eq!(files.key, std::path::Path::new("/own.key"));
    check(
        "project = \"p\"\n[online]\nurl = \"rediss://h\"\ntls_key = \"own.key\"\n",
        "asof.toml:4:11: [online] has no \"tls_cert\" beside this; expected tls_cert = \"cert.pem\" and tls_key = \"key.pem\"",
    );
}

#[test]
fn files_of_tls_that_nobody_reads_are_refused() {
    for url in [
        "",
        "url = \"rocksdb://o\"",
        "url = \"redis://h\"",
        "url = \"env:STORE_URL\"",
    ] {
        for file in ["tls_ca = \"a\"", "tls_cert = \"a\"\ntls_key = \"b\""] {
            check(
                &format!("project = \"p\"\n[online]\n{url}\n{file}\n"),
                &format!(
                    "asof.toml:4:{}: the online store is not reached over TLS; leave the files of TLS out, or write rediss:// in the URL of its servers",
                    file.find('"').unwrap() + 1
                ),
            );
        }
    }
}

#[test]
fn other_stores_are_not_supported_yet() {
    check(
        "project = \"p\"\n[registry]\nurl = \"postgres://db/asof\"",
        "asof.toml:3:7: \"postgres://db/asof\" is not supported by this version of asof; expected sqlite:// and a path",
    );
    check(
        "project = \"p\"\n[registry]\nurl = \"sqlite://\"",
        "asof.toml:3:7: \"sqlite://\" is not supported by this version of asof; expected sqlite:// and a path",
    );
    check(
        "project = \"p\"\n[online]\nurl = \"cassandra://cache\"",
        "asof.toml:3:7: \"cassandra://cache\" is not supported by this version of asof; expected rocksdb:// and a path, or redis:// or redis+cluster:// and a host, or rediss:// over TLS",
    );
    check(
        "project = \"p\"\n[offline]\nroot = \"s3://bucket/prefix\"",
        "asof.toml:3:8: \"s3://bucket/prefix\" is not supported by this version of asof; expected a directory",
    );
    check(
        "project = \"p\"\n[offline]\nallow = [\"s3://bucket/prefix\"]",
        "asof.toml:3:10: \"s3://bucket/prefix\" is not supported by this version of asof; expected a directory",
    );
}

#[test]
fn references_that_are_not_set_are_named_and_secrets_are_not_shown() {
    check(
        "project = \"p\"\n[registry]\nurl = \"env:NOT_SET\"",
        "asof.toml:3:7: the environment variable \"NOT_SET\" is not set; set it, or write the value here",
    );
    check(
        "project = \"p\"\n[registry]\nurl = \"env:SECRET_URL\"",
        "asof.toml:3:7: the value of \"env:SECRET_URL\" is not supported by this version of asof; expected sqlite:// and a path",
    );
    check(
        "project = \"p\"\n[registry]\nurl = \"postgres://u:secret@h/db\"",
        "asof.toml:3:7: \"postgres://***@h/db\" is not supported by this version of asof; expected sqlite:// and a path",
    );
    check(
        "project = \"p\"\n[online]\nurl = \"redis://:secret@h/0?password=secret\"",
        "asof.toml:3:7: a password that stands in a file is read by others; put the URL into an environment variable of the server, and write \"env:NAME\" here",
    );
    check(
        "project = \"p\"\n[online]\nurl = \"redis://h/0?password=secret\"",
        "asof.toml:3:7: \"redis://h/0?***\" has a \"?\", behind which nothing is read; leave it out, or write %3F where it is one of the password",
    );
    check(
        "project = \"p\"\n[serve]\nlisten = \"env:SECRET_URL\"",
        "asof.toml:3:10: the value of \"env:SECRET_URL\" is not an address and a port",
    );
}

#[test]
fn addresses_to_listen_on() {
    let check = |text: &str, expect: &str| assert_eq!(parse_listen(text).unwrap_err().to_string(), expect);
    check(
        "127.0.0.1:70000",
        "port 70000 is out of range; expected 0 to 65535",
    );
    check(
        "2763",
        "\"2763\" is not an address; expected an IP address and a port, such as \"127.0.0.1:2763\"",
    );
    check(
        "example.com:-1",
        "\"example.com:-1\" is not an address; expected an IP address and a port, such as \"127.0.0.1:2763\"",
    );
    for address in ["0.0.0.0:2763", "[::]:2763", "192.0.2.7:1"] {
        assert_eq!(parse_listen(address).unwrap().to_string(), address);
    }
    assert_eq!(
        parse_listen("localhost:1").unwrap(),
        "127.0.0.1:1".parse::<SocketAddr>().unwrap()
    );
}

#[test]
fn problems_of_one_file_come_together() {
    check(
        "project = \"\"\n[offline]\nallow = [1]\n[serve]\nlisten = \"nowhere\"\n[online]\nurl = false",
        "asof.toml:1:11: \"\" is not a project name; a name cannot be empty\n\
         asof.toml:3:10: a directory of \"allow\" has the wrong type; expected a string, found an integer\n\
         asof.toml:5:10: \"nowhere\" is not an address; expected an IP address and a port, such as \"127.0.0.1:2763\"\n\
         asof.toml:7:7: \"url\" has the wrong type; expected a string, found a boolean",
    );
}

#[test]
fn who_may_call() {
    check(
        "project = \"p\"\n[serve]\ntoken = \"hunter2hunter2hunter2\"",
        "asof.toml:3:9: a token that stands in a file is read by others; put it into an environment variable of the server, and write \"env:NAME\" here",
    );
    check(
        "project = \"p\"\n[serve]\ntoken = \"env:\"",
        "asof.toml:3:9: a token that stands in a file is read by others; put it into an environment variable of the server, and write \"env:NAME\" here",
    );
    check(
        "project = \"p\"\n[serve]\ntls_cert = \"cert.pem\"",
        "asof.toml:3:12: [serve] has no \"tls_key\" beside this; expected tls_cert = \"cert.pem\" and tls_key = \"key.pem\"",
    );
    check(
        "project = \"p\"\n[serve]\ntls_key = \"key.pem\"",
        "asof.toml:3:11: [serve] has no \"tls_cert\" beside this; expected tls_cert = \"cert.pem\" and tls_key = \"key.pem\"",
    );
    check(
        "project = \"p\"\n[serve]\ninsecure = \"yes\"",
        "asof.toml:3:12: \"insecure\" has the wrong type; expected true or false, found a string",
    );
}
