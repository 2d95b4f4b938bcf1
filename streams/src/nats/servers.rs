//! NATS servers: how they are written, and a connection to them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
use tokio::sync::watch;

use crate::StreamError;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Servers of one cluster. Shown without what is secret about them.
pub(super) struct Servers {
    addresses: Vec<ServerAddr>,
    credentials: Option<Credentials>,
}

#[derive(Clone)]
enum Credentials {
    Token(String),
    User { name: String, password: String },
}

impl Servers {
    /// Reads `nats://[token@|user:password@]host[:port]`, several with commas between. The credentials of the first
    /// server that has any are those for all of them.
    ///
    /// # Errors
    ///
    /// [`StreamError::Refused`], which does not repeat what was written.
    pub(super) fn parse(text: &str) -> Result<Self, StreamError> {
        let written = text.split(',').map(str::trim).filter(|server| !server.is_empty());
        let written = written.map(server).collect::<Result<Vec<_>, _>>()?;
        if written.is_empty() {
            return Err(StreamError::Refused("no NATS server is named".to_owned()));
        }
        let credentials = written.iter().find_map(credentials);
        let addresses = written
            .iter()
            .map(without_credentials)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            addresses,
            credentials,
        })
    }

    /// Connects to one of them. There is no second connection once this one is gone.
    pub(super) async fn connect(&self, trouble: &Trouble) -> Result<Client, StreamError> {
        let told = trouble.clone();
        // One attempt a server, and a certificate file that is none: whoever wants TLS is an error, where a default
        // of the TLS library would have to be there otherwise.
        let options = ConnectOptions::new()
            .name("asof")
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .max_reconnects(self.addresses.len())
            .add_root_certificates(PathBuf::new())
            .event_callback(move |event| {
                told.tell(&event);
                std::future::ready(())
            });
        let options = match self.credentials.clone() {
            None => options,
            Some(Credentials::Token(token)) => options.token(token),
            Some(Credentials::User { name, password }) => options.user_and_password(name, password),
        };
        options
            .connect(&self.addresses[..])
            .await
            .map_err(|error| self.unconnected(&error))
    }

    fn unconnected(&self, error: &ConnectError) -> StreamError {
        match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                StreamError::Refused(format!(
                    "NATS at {self} refuses the credentials that its URL has, or wants some: write \
                     nats://user:password@host or nats://token@host"
                ))
            }
            ConnectErrorKind::Tls => StreamError::Refused(no_tls(self)),
            ConnectErrorKind::ServerParse => StreamError::Refused(UNREADABLE.to_owned()),
            ConnectErrorKind::TimedOut
            | ConnectErrorKind::Dns
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => {
                StreamError::Unavailable(format!("NATS at {self} cannot be reached: {error}"))
            }
        }
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.addresses.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}:{}", address.host(), address.port())?;
        }
        Ok(())
    }
}

/// What a connection tells that ends everything that uses it. The first that it tells stays.
#[derive(Clone)]
pub(super) struct Trouble(Arc<watch::Sender<Option<StreamError>>>);

impl Trouble {
    pub(super) fn none() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    fn tell(&self, event: &Event) {
        let Some(error) = ending(event) else { return };
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(error);
            first
        });
    }

    /// The trouble that there is, or else `error`.
    pub(super) fn or(&self, error: StreamError) -> StreamError {
        self.0.borrow().clone().unwrap_or(error)
    }

    /// Waits for trouble.
    pub(super) async fn comes(&self) -> StreamError {
        let mut told = self.0.subscribe();
        match told.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            Ok(None) | Err(_) => lost(),
        }
    }
}

fn ending(event: &Event) -> Option<StreamError> {
    match event {
        Event::Disconnected | Event::Closed => Some(lost()),
        Event::ServerError(ServerError::AuthorizationViolation) => Some(StreamError::Refused(
            "NATS takes the credentials no longer".to_owned(),
        )),
        Event::ServerError(ServerError::Other(what)) if what.contains("Permissions Violation") => {
            Some(StreamError::Refused(format!(
                "NATS does not let its user read the stream, which needs $JS.API.> and _INBOX.>: {what}"
            )))
        }
        _ => None,
    }
}

fn lost() -> StreamError {
    StreamError::Unavailable("the connection to NATS was lost".to_owned())
}

const UNREADABLE: &str = "NATS servers are written as nats://host:port, several with commas between; credentials \
                          stand before the host, as nats://user:password@host:port, with %2C for a comma and %40 for \
                          an @ in them";

fn no_tls(servers: &impl fmt::Display) -> String {
    format!(
        "NATS at {servers} wants TLS, which is not supported: give it a listener without, or a proxy beside it"
    )
}

fn server(text: &str) -> Result<ServerAddr, StreamError> {
    let address = text
        .parse::<ServerAddr>()
        .map_err(|_| StreamError::Refused(UNREADABLE.to_owned()))?;
    match address.scheme() {
        "nats" if !address.host().is_empty() => Ok(address),
        "tls" | "wss" => Err(StreamError::Refused(no_tls(&address.host()))),
        _ => Err(StreamError::Refused(UNREADABLE.to_owned())),
    }
}

/// The same address to be kept, and written to logs.
fn without_credentials(address: &ServerAddr) -> Result<ServerAddr, StreamError> {
    let (host, port) = (address.host(), address.port());
    if host.contains(':') {
        server(&format!("[{host}]:{port}"))
    } else {
        server(&format!("{host}:{port}"))
    }
}

fn credentials(address: &ServerAddr) -> Option<Credentials> {
    let name = decoded(address.username()?);
    Some(match address.password() {
        None => Credentials::Token(name),
        Some(password) => Credentials::User {
            name,
            password: decoded(password),
        },
    })
}

/// A part of a URL as it was before `%` and two digits stood for some of its bytes.
fn decoded(part: &str) -> String {
    let mut pieces = part.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        match piece
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend(piece.bytes().skip(2));
            }
            None => {
                bytes.push(b'%');
                bytes.extend(piece.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
