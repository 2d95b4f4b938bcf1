//! Connections to one server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, Connection, ErrorKind, IntoConnectionInfo, RedisError, Value};

use crate::deadline::Deadline;
use crate::failure::is_untrusted;
use crate::options::{Address, Place};
use crate::scripts::Script;

/// How many connections are kept that nobody uses.
const IDLE: usize = 64;
/// After so many replies the time-out is set anew to what is left.
const REPLIES: usize = 32;

/// A server, with connections that nobody uses at the moment.
#[derive(Default)]
pub(super) struct Node {
    idle: Mutex<Vec<Link>>,
    /// Whether it was waited for in vain, and has not answered since.
    is_silent: AtomicBool,
}

impl Node {
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }

    pub(super) fn note_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Release);
    }

    /// A connection that was used before, if there is one.
    pub(super) fn take(&self) -> Option<Link> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(super) fn give_back(&self, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(link);
        }
    }

    /// Closes what nobody uses: where one connection broke, the others did as well.
    pub(super) fn forget(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        drop(idle);
    }
}

/// A connection that was set up, with no reply under way.
pub(super) struct Link(Connection);

impl Link {
    /// Connects and gives the server the scripts.
    pub(super) fn connect(address: &Address, place: &Place, deadline: Deadline) -> Result<Self, RedisError> {
        let info = match &place.tls {
            Some(tls) => tls.info(address)?,
            None => (address.host.as_str(), address.port).into_connection_info()?,
        };
        let info = info
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(place.login.clone());
        let client = match &place.tls {
            Some(tls) => tls.client(info)?,
            None => Client::open(info)?,
        };
        let connection = client.get_connection_with_timeout(deadline.timeout())?;
        let mut link = Self(connection);
        link.load_scripts(deadline)?;
        Ok(link)
    }

    pub(super) fn load_scripts(&mut self, deadline: Deadline) -> Result<(), RedisError> {
        let mut bytes = Vec::new();
        for script in Script::ALL {
            let mut load = Cmd::new();
            load.arg("SCRIPT").arg("LOAD").arg(script.source());
            load.write_packed_command(&mut bytes);
        }
        self.send(&bytes, deadline)?;
        // All of them are taken in, whatever one says: the connection is used for more.
        let mut loaded = Ok(());
        for at in 0..Script::ALL.len() {
            let reply = self.receive(at, deadline)?;
            loaded = loaded.and(reply.extract_error().map(drop));
        }
        loaded
    }

    pub(super) fn send(&mut self, bytes: &[u8], deadline: Deadline) -> Result<(), RedisError> {
        self.0.set_write_timeout(Some(deadline.timeout()))?;
        self.0.send_packed_command(bytes)
    }

    /// The next reply, the `at`-th of what was sent.
    pub(super) fn receive(&mut self, at: usize, deadline: Deadline) -> Result<Value, RedisError> {
        if at.is_multiple_of(REPLIES) {
            self.0.set_read_timeout(Some(deadline.timeout()))?;
        }
        self.0.recv_response()
    }
}

/// Whether our certificate is not one for the server.
fn is_turned_away(error: &RedisError) -> bool {
    error.is_io_error() && error.to_string().contains("fatal alert")
}

/// Whether a connection will not come about however often it is tried.
pub(super) fn is_final(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig
    ) || is_untrusted(error)
        || is_turned_away(error)
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED"))
        || (error.code() == Some("ERR") && !error.is_io_error())
}
