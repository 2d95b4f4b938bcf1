//! What servers must be set to so that they keep what a store promises.

use asof_core::online::StoreError;
use redis::Value;

use crate::failure;
use crate::options::{Address, Durability};
use crate::reply;
use crate::servers::{Request, Servers};

/// Refuses servers that drop keys, or that have not written down what they acknowledge.
pub(crate) fn check(servers: &Servers, durability: Durability) -> Result<(), StoreError> {
    let deadline = servers.deadline();
    for master in servers.masters(deadline)? {
        check_server(servers, &master, durability)?;
    }
    Ok(())
}

fn check_server(servers: &Servers, master: &Address, durability: Durability) -> Result<(), StoreError> {
    let place = servers.shown(master);
    let mut settings = Vec::new();
    for name in ["maxmemory-policy", "appendonly", "appendfsync"] {
        let request = Request::to(master, "CONFIG").arg(b"GET").arg(name.as_bytes());
        match servers.ask_one(request, servers.deadline()) {
            Ok(reply) => settings.push(setting(reply).unwrap_or_default()),
            Err(StoreError::Failed { reason, .. }) if is_forbidden(&reason) => {
                tracing::warn!(
                    %place,
                    "the server does not tell its settings: see to it that it has maxmemory-policy noeviction, and \
                     appendonly yes with an appendfsync that fits the durability"
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    let [policy, append, sync] = settings.as_slice() else {
        return Err(failure::odd_reply(&place));
    };
    let refuse = |reason: String| {
        Err(StoreError::Failed {
            place: place.clone(),
            reason,
        })
    };
    // Nothing of the store but the lease runs out, so the policies that drop such keys only leave it alone.
    if policy != "noeviction" && !policy.starts_with("volatile-") {
        return refuse(format!(
            "its maxmemory-policy is {policy}, under which it drops rows when its memory is full: set noeviction"
        ));
    }
    if append != "yes" {
        return refuse(
            "its appendonly is not yes, so it forgets what it acknowledged when it ends: set appendonly yes"
                .into(),
        );
    }
    if sync == "no" {
        return refuse(
            "its appendfsync is no, so nobody knows when its data is on the disk: set everysec or always"
                .into(),
        );
    }
    if durability == Durability::Process && sync != "always" {
        tracing::warn!(
            %place,
            "the server's appendfsync is {sync}: when it is killed while its disk is behind, it loses what it acknowledged in \
             its last seconds; set appendfsync always where that must not be"
        );
    }
    if durability == Durability::Sync && sync != "always" {
        return refuse(format!(
            "its appendfsync is {sync}, which loses what durability \"sync\" promises: set appendfsync always"
        ));
    }
    Ok(())
}

/// The value in an answer to `CONFIG GET`.
fn setting(reply: Value) -> Option<String> {
    let pairs = reply::pairs(reply).ok()?;
    let (_, value) = pairs.into_iter().next()?;
    String::from_utf8(value).ok()
}

fn is_forbidden(reason: &str) -> bool {
    reason.starts_with("NOPERM") || reason.to_ascii_lowercase().contains("unknown command")
}
