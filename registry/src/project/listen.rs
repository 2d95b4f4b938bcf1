//! Where the server listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::problem::shown;

/// 127.0.0.1:2763.
pub(super) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2763);

/// Why a text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Not an IP address and a port.
    #[error("{0} is not an address; expected an IP address and a port, such as \"127.0.0.1:2763\"")]
    Unreadable(String),
    /// Not 0 to 65535.
    #[error("port {0} is out of range; expected 0 to 65535")]
    Port(String),
}

/// Parses `127.0.0.1:2763`, `[::1]:2763` or `localhost:2763`; port 0 is any free one.
pub fn parse_listen(text: &str) -> Result<SocketAddr, ListenError> {
    let unreadable = || ListenError::Unreadable(shown(text));
    let (host, port) = text.rsplit_once(':').ok_or_else(unreadable)?;
    if port.is_empty() || port.len() > 32 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(unreadable());
    }
    let port = port.parse().map_err(|_| ListenError::Port(port.to_owned()))?;
    let address = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
            .parse()
            .map_err(|_| unreadable())?,
    };
    Ok(SocketAddr::new(address, port))
}
