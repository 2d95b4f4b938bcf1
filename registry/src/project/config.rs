//! The shape of `asof.toml`.

use std::path::Path;

use asof_core::name::ProjectName;

use super::{
    CONFIG_FILE, LOCAL_STORE, OnlineDurability, ProjectConfig, STORE_SERVERS, TlsFiles, below, parse_listen,
};
use crate::document::{Document, Table, Value};
use crate::problem::{Place, Problem, Problems, shown};

/// The least that the online store may be given.
const LEAST_MEMORY: u64 = 16 << 20;

/// A setting, resolved where it refers to the environment.
struct Setting {
    value: String,
    place: Place,
    /// What messages show instead of the value, which may be secret.
    reference: Option<String>,
}

impl Setting {
    fn shown(&self) -> String {
        match &self.reference {
            Some(reference) => format!("the value of {reference}"),
            None => shown(&self.value),
        }
    }
}

struct Reader<'a, E> {
    env: E,
    problems: &'a mut Problems,
}

/// Parses the bytes of `asof.toml`.
pub(super) fn parse(
    directory: &Path,
    bytes: &[u8],
    env: impl Fn(&str) -> Option<String>,
) -> Result<ProjectConfig, Problems> {
    let mut problems = Problems::default();
    let config = Document::read(CONFIG_FILE, bytes, &mut problems).and_then(|document| {
        let root = document.parse(&mut problems)?;
        let mut reader = Reader {
            env,
            problems: &mut problems,
        };
        reader.config(directory, Table::root(&document, &root))
    });
    match config {
        Some(config) => problems.or(config),
        None => Err(problems),
    }
}

impl<E: Fn(&str) -> Option<String>> Reader<'_, E> {
    fn config(&mut self, directory: &Path, mut root: Table<'_>) -> Option<ProjectConfig> {
        root.only(
            self.problems,
            &["project", "registry", "offline", "online", "serve"],
        );
        let name = self.project(&root);
        let registry = self.section(&root, "registry", &["url"]);
        let offline = self.section(&root, "offline", &["root", "allow"]);
        let online = self.section(
            &root,
            "online",
            &["url", "durability", "memory", "tls_ca", "tls_cert", "tls_key"],
        );
        let serve_keys = ["listen", "token", "tls_cert", "tls_key", "insecure"];
        let serve = self.section(&root, "serve", &serve_keys);

        let registry_url = self.url(registry.as_ref(), &["sqlite://"], "sqlite:// and a path");
        let offline_root = self.offline_root(offline.as_ref());
        let offline_allow = self.allow(offline.as_ref());
        let online_url = self.online_url(online.as_ref());
        let online_durability = self.durability(online.as_ref());
        let online_memory = self.memory(online.as_ref());
        let online_authority = online.as_ref().and_then(|online| self.setting(online, "tls_ca"));
        let online_tls = self.tls("online", online.as_ref());
        self.only_over_tls(online.as_ref(), online_url.as_deref());
        let listen = self.listen(serve.as_ref());
        let token_variable = self.token_variable(serve.as_ref());
        let tls = self.tls("serve", serve.as_ref());
        let insecure = self.insecure(serve.as_ref());

        let files = |(certificate, key): (String, String)| TlsFiles {
            certificate: below(directory, &certificate),
            key: below(directory, &key),
        };
        let defaults = ProjectConfig::new(directory, name?);
        Some(ProjectConfig {
            registry_url: registry_url.unwrap_or(defaults.registry_url),
            offline_root: offline_root.unwrap_or(defaults.offline_root),
            offline_allow,
            online_url: online_url.unwrap_or(defaults.online_url),
            online_durability: online_durability.unwrap_or(defaults.online_durability),
            online_memory: online_memory.unwrap_or(defaults.online_memory),
            online_authority: online_authority.map(|file| below(directory, &file.value)),
            online_tls: online_tls.map(files),
            listen: listen.unwrap_or(defaults.listen),
            token_variable,
            tls: tls.map(files),
            insecure: insecure.unwrap_or(defaults.insecure),
            directory: defaults.directory,
            project: defaults.project,
        })
    }

    fn project(&mut self, root: &Table<'_>) -> Option<ProjectName> {
        if root.get("project").is_none() {
            root.missing(self.problems, "project", "project = \"a_name\"");
        }
        let setting = self.setting(root, "project")?;
        match ProjectName::parse(&setting.value) {
            Ok(name) => Some(name),
            Err(error) => {
                let what = format!("{} is not a project name", setting.shown());
                self.problems
                    .push(Problem::new(setting.place, what, error.to_string()));
                None
            }
        }
    }

    fn section<'a>(&mut self, root: &Table<'a>, name: &str, known: &[&str]) -> Option<Table<'a>> {
        let mut table = root.table(self.problems, name, format!("[{name}]"))?;
        table.only(self.problems, known);
        Some(table)
    }

    /// A URL that begins with one of the schemes, and goes on.
    fn url(&mut self, section: Option<&Table<'_>>, schemes: &[&str], expected: &str) -> Option<String> {
        let setting = self.setting(section?, "url")?;
        let goes_on =
            |scheme: &&str| setting.value.len() > scheme.len() && setting.value.starts_with(*scheme);
        if schemes.iter().any(goes_on) {
            return Some(setting.value);
        }
        let what = format!("{} is not supported by this version of asof", setting.shown());
        let help = format!("expected {expected}");
        self.problems.push(Problem::new(setting.place, what, help));
        None
    }

    fn online_url(&mut self, section: Option<&Table<'_>>) -> Option<String> {
        let setting = self.setting(section?, "url")?;
        let is_server = STORE_SERVERS
            .iter()
            .any(|(scheme, _)| setting.value.starts_with(scheme));
        if is_server && setting.value.contains('@') && setting.reference.is_none() {
            let what = "a password that stands in a file is read by others";
            let help = "put the URL into an environment variable of the server, and write \"env:NAME\" here";
            self.problems.push(Problem::new(setting.place, what, help));
            return None;
        }
        if is_server && setting.value.contains('?') {
            let what = format!("{} has a \"?\", behind which nothing is read", setting.shown());
            let help = "leave it out, or write %3F where it is one of the password";
            self.problems.push(Problem::new(setting.place, what, help));
            return None;
        }
        let servers = STORE_SERVERS.iter().map(|(scheme, _)| *scheme);
        let schemes: Vec<&str> = std::iter::once(LOCAL_STORE).chain(servers).collect();
        let expected =
            "rocksdb:// and a path, or redis:// or redis+cluster:// and a host, or rediss:// over TLS";
        self.url(section, &schemes, expected)
    }

    fn offline_root(&mut self, section: Option<&Table<'_>>) -> Option<String> {
        let setting = self.setting(section?, "root")?;
        if setting.value.is_empty() {
            let problem = Problem::new(setting.place, "the offline root is empty", "expected a directory");
            self.problems.push(problem);
            return None;
        }
        self.directory(setting)
    }

    fn allow(&mut self, section: Option<&Table<'_>>) -> Vec<String> {
        let Some(value) = section.and_then(|section| section.get("allow")) else {
            return Vec::new();
        };
        let items = value.array(self.problems, "\"allow\"").unwrap_or_default();
        items
            .iter()
            .filter_map(|item| {
                let setting = self.resolve(item, "a directory of \"allow\"")?;
                self.directory(setting)
            })
            .collect()
    }

    fn directory(&mut self, setting: Setting) -> Option<String> {
        if !setting.value.contains("://") {
            return Some(setting.value);
        }
        let what = format!("{} is not supported by this version of asof", setting.shown());
        self.problems
            .push(Problem::new(setting.place, what, "expected a directory"));
        None
    }

    fn durability(&mut self, section: Option<&Table<'_>>) -> Option<OnlineDurability> {
        let setting = self.setting(section?, "durability")?;
        match setting.value.as_str() {
            "process" => Some(OnlineDurability::Process),
            "sync" => Some(OnlineDurability::Sync),
            _ => {
                let what = format!("{} is not a durability", setting.shown());
                let help =
                    "expected \"process\", which survives kill -9, or \"sync\", which survives a power cut";
                self.problems.push(Problem::new(setting.place, what, help));
                None
            }
        }
    }

    /// An amount of memory: an integer and MiB or GiB.
    fn memory(&mut self, section: Option<&Table<'_>>) -> Option<u64> {
        let setting = self.setting(section?, "memory")?;
        let units = [("MiB", 1_u64 << 20), ("GiB", 1 << 30)];
        let bytes = units.iter().find_map(|(unit, scale)| {
            let number = setting.value.strip_suffix(unit)?.trim_end();
            number.parse::<u64>().ok()?.checked_mul(*scale)
        });
        if bytes.is_none_or(|bytes| bytes < LEAST_MEMORY) {
            let what = format!("{} is not an amount of memory", setting.shown());
            let help = "expected an integer and MiB or GiB, such as \"512 MiB\", and 16 MiB or more";
            self.problems.push(Problem::new(setting.place, what, help));
            return None;
        }
        bytes
    }

    fn listen(&mut self, section: Option<&Table<'_>>) -> Option<std::net::SocketAddr> {
        let setting = self.setting(section?, "listen")?;
        match parse_listen(&setting.value) {
            Ok(address) => Some(address),
            Err(error) => {
                let what = match &setting.reference {
                    Some(reference) => {
                        format!("the value of {reference} is not an address and a port")
                    }
                    None => error.to_string(),
                };
                self.problems.push(Problem::new(setting.place, what, ""));
                None
            }
        }
    }

    /// The name of the variable in `env:NAME`: the token itself is read by whoever needs it, and stands in no file.
    fn token_variable(&mut self, section: Option<&Table<'_>>) -> Option<String> {
        let text = section?.get("token")?.string(self.problems, "\"token\"")?;
        let variable = text.text.strip_prefix("env:");
        match variable.filter(|name| is_variable(name)) {
            Some(variable) => Some(variable.to_owned()),
            None => {
                let what = "a token that stands in a file is read by others";
                let help = "put it into an environment variable of the server, and write \"env:NAME\" here";
                self.problems.push(Problem::new(text.place, what, help));
                None
            }
        }
    }

    /// Both files, or neither.
    fn tls(&mut self, name: &str, section: Option<&Table<'_>>) -> Option<(String, String)> {
        let section = section?;
        let (certificate, key) = (section.get("tls_cert"), section.get("tls_key"));
        let (given, missing) = match (&certificate, &key) {
            (Some(_), Some(_)) => {
                let files = [
                    self.setting(section, "tls_cert"),
                    self.setting(section, "tls_key"),
                ];
                let [certificate, key] = files.map(|file| file.map(|file| file.value));
                return Some((certificate?, key?));
            }
            (Some(given), None) => (given, "tls_key"),
            (None, Some(given)) => (given, "tls_cert"),
            (None, None) => return None,
        };
        let what = format!("[{name}] has no {missing:?} beside this");
        let help = "expected tls_cert = \"cert.pem\" and tls_key = \"key.pem\"";
        self.problems.push(Problem::new(given.place(), what, help));
        None
    }

    /// Refuses files of TLS for an online store that is not reached over it.
    fn only_over_tls(&mut self, section: Option<&Table<'_>>, url: Option<&str>) {
        let Some(section) = section else {
            return;
        };
        let is_tls = match url {
            Some(url) => STORE_SERVERS
                .iter()
                .any(|(scheme, is_tls)| *is_tls && url.starts_with(scheme)),
            // One that cannot be used was told of.
            None => section.get("url").is_some(),
        };
        let given = ["tls_ca", "tls_cert", "tls_key"].map(|key| section.get(key));
        if let Some(value) = given.into_iter().flatten().next()
            && !is_tls
        {
            let what = "the online store is not reached over TLS";
            let help = "leave the files of TLS out, or write rediss:// in the URL of its servers";
            self.problems.push(Problem::new(value.place(), what, help));
        }
    }

    fn insecure(&mut self, section: Option<&Table<'_>>) -> Option<bool> {
        let value = section?.get("insecure")?;
        value.boolean(self.problems, "\"insecure\"")
    }

    fn setting(&mut self, table: &Table<'_>, key: &str) -> Option<Setting> {
        let value = table.get(key)?;
        self.resolve(&value, &format!("{key:?}"))
    }

    /// A string, or what the environment has under the name in `env:NAME`.
    fn resolve(&mut self, value: &Value<'_>, name: &str) -> Option<Setting> {
        let text = value.string(self.problems, name)?;
        let Some(variable) = text.text.strip_prefix("env:") else {
            return Some(Setting {
                value: text.text.to_owned(),
                place: text.place,
                reference: None,
            });
        };
        match is_variable(variable).then(|| (self.env)(variable)).flatten() {
            Some(value) => Some(Setting {
                value,
                place: text.place,
                reference: Some(shown(text.text)),
            }),
            None => {
                let what = format!("the environment variable {} is not set", shown(variable));
                let help = "set it, or write the value here";
                self.problems.push(Problem::new(text.place, what, help));
                None
            }
        }
    }
}

/// Whether a text may name a variable of the environment.
fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
