//! The servers of a definition, and how they are read from.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::StreamError;

/// What is set whatever the servers are.
const SETTINGS: &[(&str, &str)] = &[
    ("client.id", "asof"),
    // Where a partition begins is up to marks, and to nobody else.
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    // Eager: partitions are all given up, then all given.
    ("partition.assignment.strategy", "range"),
    // How soon others take the partitions of a member that is gone, and how soon members know of each other.
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    // Of a reader that takes nothing for so long, others get the partitions: until then, nobody gets any.
    ("max.poll.interval.ms", "60000"),
    // How soon partitions are known that were added to the topic.
    ("topic.metadata.refresh.interval.ms", "30000"),
    ("allow.auto.create.topics", "false"),
    // What is held that was not asked for: with the lanes' own, 16 MiB. Full, it is looked at again soon.
    ("queued.max.messages.kbytes", "12288"),
    ("queued.min.messages", "20000"),
    ("fetch.max.bytes", "4194304"),
    ("fetch.queue.backoff.ms", "10"),
    // A request of offsets stands behind one of messages, which the broker holds this long at most.
    ("fetch.wait.max.ms", "20"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
];

/// Servers, and who reads from them.
#[derive(PartialEq, Eq)]
struct Servers {
    hosts: Vec<String>,
    login: Option<(String, String)>,
}

/// A consumer of a group.
pub(super) fn consumer(servers: &str, group: &str) -> Result<ClientConfig, StreamError> {
    let servers = Servers::parse(servers).ok_or_else(|| {
        // What was written is not shown: it may have a password.
        let as_what = "host:port,host:port or user:password@host:port,host:port";
        StreamError::Refused(format!("the servers of Kafka are written as {as_what}"))
    })?;
    let mut config = ClientConfig::new();
    for (key, value) in SETTINGS {
        config.set(*key, *value);
    }
    config.set("bootstrap.servers", servers.hosts.join(","));
    config.set("group.id", group);
    if let Some((user, password)) = servers.login {
        config.set("security.protocol", "sasl_plaintext");
        config.set("sasl.mechanism", "PLAIN");
        config.set("sasl.username", user);
        config.set("sasl.password", password);
    }
    config.set_log_level(RDKafkaLogLevel::Info);
    Ok(config)
}

impl Servers {
    /// The login stands before the first server, and may be repeated: a piece of a password that has a comma must not
    /// be taken for a server, and be told to whoever resolves names or reads logs.
    fn parse(text: &str) -> Option<Self> {
        let mut hosts = Vec::new();
        let mut login = None;
        for (at, part) in text.split(',').enumerate() {
            let part = part.trim();
            let host = match part.rsplit_once('@') {
                None => part,
                Some((who, host)) => {
                    let (user, password) = who.split_once(':')?;
                    let who = Some((user.to_owned(), password.to_owned()));
                    if at > 0 && login != who {
                        return None;
                    }
                    login = who;
                    host
                }
            };
            hosts.push(is_host(host).then(|| host.to_owned())?);
        }
        Some(Self { hosts, login })
    }
}

/// Whether it is a name or an address, and a port.
fn is_host(text: &str) -> bool {
    let Some((name, port)) = text.rsplit_once(':') else {
        return false;
    };
    let of_names = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    !name.is_empty() && name.chars().all(of_names) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, Option<(String, String)>)> {
        Servers::parse(text).map(|servers| (servers.hosts.join(","), servers.login))
    }

    fn login(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[test]
    fn servers_with_and_without_a_login() {
        assert_eq!(parsed("a:1"), Some(("a:1".to_owned(), None)));
        assert_eq!(
            parsed("a:1, [::1]:9092"),
            Some(("a:1,[::1]:9092".to_owned(), None))
        );
        assert_eq!(
            parsed("me:x@y:z@a:1,b:2"),
            Some(("a:1,b:2".to_owned(), login("me", "x@y:z")))
        );
        assert_eq!(
            parsed("me:p@a:1,me:p@b:2"),
            Some(("a:1,b:2".to_owned(), login("me", "p")))
        );
    }

    #[test]
    fn no_piece_of_a_password_is_a_server() {
        for text in [
            "me:1,2@a:1",
            "me:12,x:y@a:1",
            "me:x@y,z@a:1",
            "me@a:1",
            "a:1,me:p@b:2",
            "me:p@a:1,me:q@b:2",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_server() {
        for text in [
            "",
            "a",
            "a:",
            "a:0",
            "a:65536",
            ":1",
            "a:1,",
            "SSL://a:1",
            "a b:1",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn an_error_does_not_tell_the_password() {
        let error = consumer("me:secret@", "g").unwrap_err().to_string();
        assert!(
            !error.contains("secret") && error.contains("user:password@host:port"),
            "{error}"
        );
    }
}
