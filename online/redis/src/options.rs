//! What a caller decides about a store, and where its servers are.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use asof_core::online::StoreError;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::tls::Tls;

/// What a write that was acknowledged survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The death of this process, and a restart of the server, which must have `appendonly yes`. A server that is killed
    /// may lose what it acknowledged in its last seconds: with `appendfsync everysec` it does not wait for a slow disk.
    #[default]
    Process,
    /// The death of the server's process and a power cut of its machine: it must have `appendfsync always`, too.
    Sync,
}

/// What a caller decides about a store.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// `redis://[user:password@]host[:port][/database]`, or `redis+cluster://[user:password@]host[:port],…` with some
    /// of the servers of a cluster; also with `valkey` in the place of `redis`, and with `rediss` or `valkeys` over TLS.
    pub url: String,
    /// The files of TLS, where it is spoken.
    pub tls: TlsFiles,
    /// Under which name the store lies on the servers, so that several can share them.
    pub namespace: String,
    /// What a write that was acknowledged survives.
    pub durability: Durability,
    /// How long a call waits for the servers; what is done in many steps, such as a load, waits as long for each.
    pub deadline: Duration,
    /// How long the store stays held by a process that died. A process holds it for as long as it reaches the server
    /// more often than that.
    pub lease: Duration,
}

/// Files in PEM: `tls_ca`, and `tls_cert` with `tls_key`, of `[online]` in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signed the certificates of the servers; without one, those that the machine trusts.
    pub authority: Option<PathBuf>,
    /// A certificate to show to servers that ask for one, and its private key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl RedisOptions {
    /// The usual ones for a URL: everything under the name `asof`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tls: TlsFiles::default(),
            namespace: "asof".into(),
            durability: Durability::default(),
            deadline: Duration::from_secs(2),
            lease: Duration::from_secs(6),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            tls,
            namespace,
            durability,
            deadline,
            lease,
        } = self;
        f.debug_struct("RedisOptions")
            .field("url", &shown(url))
            .field("tls", tls)
            .field("namespace", namespace)
            .field("durability", durability)
            .field("deadline", deadline)
            .field("lease", lease)
            .finish()
    }
}

/// A URL without what is secret in it: what was read of it, and nothing of one that cannot be read.
pub fn shown(url: &str) -> String {
    match Parsed::parse(url) {
        Ok(parsed) => parsed.shown,
        Err(_) => match scheme_of(url) {
            Some((scheme, ..)) => format!("{scheme}://…"),
            None => "not a URL".to_owned(),
        },
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What a URL says.
pub(crate) struct Place {
    /// Servers to ask first; the only one, where it is no cluster.
    pub(crate) seeds: Vec<Address>,
    pub(crate) is_cluster: bool,
    /// Who we are to the servers. Its passwords are shown to nobody.
    pub(crate) login: RedisConnectionInfo,
    /// How TLS is spoken with them, where it is.
    pub(crate) tls: Option<Tls>,
    /// The URL without secrets.
    pub(crate) shown: String,
}

/// The kinds of URLs, with whether they are of clusters and over TLS.
const SCHEMES: [(&str, bool, bool); 8] = [
    ("redis", false, false),
    ("valkey", false, false),
    ("redis+cluster", true, false),
    ("valkey+cluster", true, false),
    ("rediss", false, true),
    ("valkeys", false, true),
    ("rediss+cluster", true, true),
    ("valkeys+cluster", true, true),
];

fn scheme_of(url: &str) -> Option<(&'static str, bool, bool)> {
    let (scheme, _) = url.split_once("://")?;
    SCHEMES.iter().find(|(known, ..)| *known == scheme).copied()
}

impl Place {
    pub(crate) fn parse(url: &str, files: &TlsFiles) -> Result<Self, StoreError> {
        let refuse = |reason: String| StoreError::Failed {
            place: shown(url),
            reason,
        };
        let Parsed {
            seeds,
            is_cluster,
            is_tls,
            login,
            shown,
        } = Parsed::parse(url).map_err(|reason| refuse(reason.to_owned()))?;
        if !is_tls && *files != TlsFiles::default() {
            let reason = "there are files of TLS, which this URL does not ask for: write rediss://";
            return Err(refuse(reason.to_owned()));
        }
        let tls = is_tls.then(|| Tls::load(files)).transpose();
        Ok(Self {
            seeds,
            is_cluster,
            login,
            tls: tls.map_err(refuse)?,
            shown,
        })
    }

    /// How the URL of one of the servers begins.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "rediss",
            None => "redis",
        }
    }
}

/// What stands in a URL.
struct Parsed {
    seeds: Vec<Address>,
    is_cluster: bool,
    is_tls: bool,
    login: RedisConnectionInfo,
    shown: String,
}

impl Parsed {
    /// What is said of one that is none has nothing of it, as that may be of a password.
    fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, is_cluster, is_tls) = scheme_of(url).ok_or(EXPECTED)?;
        let (_, rest) = url.split_once("://").ok_or(EXPECTED)?;
        if rest.contains('?') {
            return Err(
                "nothing is read behind a \"?\": leave it out, or write %3F where it is one of the password",
            );
        }
        let (user, hosts) = rest
            .rsplit_once('@')
            .map_or(("", rest), |(user, hosts)| (user, hosts));
        let (hosts, database) = hosts.split_once('/').unwrap_or((hosts, ""));
        if !database.is_empty() && (is_cluster || database.parse::<u16>().is_err()) {
            return Err(match is_cluster {
                true => "a cluster has no databases: leave out what is behind the hosts",
                false => "what is behind the host is not the number of a database",
            });
        }
        let names: Vec<&str> = hosts.split(',').collect();
        if names.len() > 1 && !is_cluster {
            return Err("several servers are a cluster: write redis+cluster:// or rediss+cluster://");
        }
        let mut seeds = Vec::new();
        let mut login = RedisConnectionInfo::default();
        for host in names {
            let at = if user.is_empty() { "" } else { "@" };
            // What the library says of a URL may have the password in it.
            let one = format!("redis://{user}{at}{host}/{database}").into_connection_info();
            let one: ConnectionInfo = one.map_err(|_| EXPECTED)?;
            let ConnectionAddr::Tcp(host, port) = one.addr() else {
                return Err(EXPECTED);
            };
            seeds.push(Address {
                host: host.clone(),
                port: *port,
            });
            login = one.redis_settings().clone();
        }
        let hosts: Vec<String> = seeds.iter().map(Address::to_string).collect();
        let database = if database.is_empty() {
            String::new()
        } else {
            format!("/{database}")
        };
        Ok(Self {
            shown: format!("{scheme}://{}{database}", hosts.join(",")),
            seeds,
            is_cluster,
            is_tls,
            login,
        })
    }
}

const EXPECTED: &str = "expected redis://[user:password@]host[:port][/database] or redis+cluster://[user:password@]host[:port],…, \
    or rediss where it is over TLS; in a password write %2F for /, %3A for :, %40 for @, %23 for #, %3F for ? and %25 for %";

/// Refuses a name under which keys of others could be taken for the store's.
pub(crate) fn check_namespace(place: &str, namespace: &str) -> Result<(), StoreError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    match !namespace.is_empty() && namespace.len() <= 63 && namespace.bytes().all(is_plain) {
        true => Ok(()),
        false => Err(StoreError::Failed {
            place: place.into(),
            reason: format!(
                "the namespace {namespace:?} is not one: up to 63 of a-z, 0-9, \"_\", \"-\" and \".\""
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Place, StoreError> {
        Place::parse(url, &TlsFiles::default())
    }

    #[test]
    fn urls_are_taken_apart_without_their_secrets() {
        let place = parse("redis://me:s%40cret@db.example:7000/3").unwrap();
        assert_eq!(place.seeds.len(), 1);
        assert_eq!(place.seeds[0].to_string(), "db.example:7000");
        assert_eq!(place.login.password(), Some("s@cret"));
        assert_eq!((place.login.username(), place.login.db()), (Some("me"), 3));
        assert_eq!(
            (place.shown.as_str(), place.is_cluster),
            ("redis://db.example:7000/3", false)
        );

        let place = parse("redis+cluster://:secret@a:1,b:2,[::1]:3").unwrap();
        let seeds: Vec<String> = place.seeds.iter().map(Address::to_string).collect();
        assert_eq!(seeds, ["a:1", "b:2", "[::1]:3"]);
        assert_eq!((place.login.password(), place.is_cluster), (Some("secret"), true));
        assert!(place.tls.is_none());
        let place = parse("rediss+cluster://:secret@a:1,b:2").unwrap();
        assert!(place.is_cluster && place.tls.is_some());
        let files = TlsFiles {
            authority: Some("ca.pem".into()),
            certificate: None,
        };
        let refused = Place::parse("redis://:secret@host", &files)
            .err()
            .unwrap()
            .to_string();
        assert!(
            refused.ends_with("which this URL does not ask for: write rediss://"),
            "{refused}"
        );
        let refused = Place::parse("rediss://:secret@host", &files)
            .err()
            .unwrap()
            .to_string();
        assert!(
            refused.contains(": [online] tls_ca ca.pem: No such file"),
            "{refused}"
        );
        let options = RedisOptions::new("redis://me:secret@host");
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secrets() {
        assert_eq!(shown("redis://:secret@host/1"), "redis://host:6379/1");
        assert_eq!(shown("redis://:secret.host:1"), "redis://…");
        for url in [
            "secret",
            "redisx://:secret@host",
            "redis://:secret@",
            "redis://:secret@a,b",
            "redis://:secret@host/x",
            "redis+cluster://:secret@host/1",
            "redis://:secret@host:port",
            "redis://host?password=secret",
            "redis://host/0?password=secret",
            "redis://:sec?ret@host?password=secret",
            "redis://host/0?password=a@secret",
            "redis://:secret127.0.0.1:36391",
            "redis://:secret:127.0.0.1:36391",
            "redis://host/secret",
            "redis://host/0#secret",
            "redis://:sec/ret@host",
            "redis://:sec#ret@host",
            "redis:/:secret@host",
            "http://:secret@host",
        ] {
            let refused = parse(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(!refused.contains("sec"), "{refused}");
        }
        for namespace in ["", "A", "a:b", "a{b", "a*", "a/b"] {
            assert!(check_namespace("", namespace).is_err(), "{namespace}");
        }
        assert!(check_namespace("", "a_b-1.c").is_ok());
    }
}
