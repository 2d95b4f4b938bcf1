//! Who holds the store: one process at a time.
//!
//! The lease runs out by itself unless it is renewed, which a thread does. Taking it gives a new *epoch*, without which
//! no script changes what is there once; so a process that was paused for longer than its lease, and then goes on,
//! changes nothing any more.

use std::fs;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use asof_core::online::StoreError;
use redis::Value;

use crate::deadline::Deadline;
use crate::failure;
use crate::names::{Meta, Names};
use crate::scripts::Script;
use crate::servers::{Request, Servers};

/// The newest shape of a store that is known here.
pub(crate) const FORMAT: u64 = 1;
/// How often it is looked whether the holder is gone, and for how long.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(10);

/// What is held, for as long as it is not dropped.
pub(crate) struct Lease {
    inner: Arc<Inner>,
    renewing: Option<JoinHandle<()>>,
}

/// What was found when it was taken.
pub(crate) struct Taken {
    pub(crate) lease: Lease,
    /// The id of the store.
    pub(crate) id: String,
    /// Whether the store is not made to the end.
    pub(crate) is_new: bool,
    /// The last number of a commit.
    pub(crate) last: u64,
}

struct Inner {
    servers: Arc<Servers>,
    names: Names,
    /// Who holds it: the machine, the process, and a random number.
    me: String,
    lasts: Duration,
    epoch: u64,
    held: Mutex<Held>,
    /// Told when the thread is to stop.
    stop: Condvar,
}

struct Held {
    until: Instant,
    /// Who took it, where it is lost for good.
    lost_to: Option<String>,
    is_over: bool,
}

impl Lease {
    /// Takes the lease, waiting until one that nobody renews has run out.
    pub(crate) fn take(servers: &Arc<Servers>, names: &Names, lasts: Duration) -> Result<Taken, StoreError> {
        let me = format!("{} {} {:016x}", host(), std::process::id(), rand::random::<u64>());
        let id = format!("{:032x}", rand::random::<u128>());
        let (lease, catalogue) = (names.meta(Meta::Lease), names.meta(Meta::Catalogue));
        let mut least_left = i64::MAX;
        let longest = Deadline::after(LONGEST);
        loop {
            let asked = Instant::now();
            let request = Request::script(Script::Open, &[&lease, &catalogue])
                .arg(me.as_bytes())
                .arg(lasts.as_millis().to_string().as_bytes())
                .arg(id.as_bytes())
                .arg(FORMAT.to_string().as_bytes());
            let reply = servers.ask_one(request, servers.deadline())?;
            let Value::Array(reply) = reply else {
                return Err(failure::odd_reply(servers.place()));
            };
            let texts: Vec<String> = reply.iter().map(text).collect();
            match (reply.first(), texts.get(1..).unwrap_or_default()) {
                (Some(Value::Int(1)), [epoch, id, state, last]) => {
                    let odd = |_| failure::odd_reply(servers.place());
                    let inner = Arc::new(Inner {
                        servers: Arc::clone(servers),
                        names: names.clone(),
                        me,
                        lasts,
                        epoch: epoch.parse().map_err(odd)?,
                        held: Mutex::new(Held {
                            until: asked + lasts,
                            lost_to: None,
                            is_over: false,
                        }),
                        stop: Condvar::new(),
                    });
                    let renews = Arc::clone(&inner);
                    let renewing = thread::Builder::new()
                        .name("asof-redis-lease".into())
                        .spawn(move || renews.renew_until_over())
                        .map_err(|error| failure::failed(servers.place(), &error.to_string()))?;
                    return Ok(Taken {
                        lease: Self {
                            inner,
                            renewing: Some(renewing),
                        },
                        id: id.clone(),
                        is_new: state == "new",
                        last: last.parse().map_err(odd)?,
                    });
                }
                (Some(Value::Int(2)), [found]) => {
                    return Err(StoreError::Newer {
                        place: servers.place().into(),
                        found: found.parse().unwrap_or(u64::MAX),
                        known: FORMAT,
                    });
                }
                (Some(Value::Int(0)), [holder, left]) => {
                    let left: i64 = left.parse().unwrap_or(0);
                    // More than was left: somebody renewed it.
                    if left > least_left || left < 0 || longest.has_passed() {
                        return Err(held(servers.place(), holder));
                    }
                    least_left = left;
                    thread::sleep(PAUSE.min(Duration::from_millis(left.max(1).unsigned_abs())));
                }
                _ => return Err(failure::odd_reply(servers.place())),
            }
        }
    }

    /// What a script must be given to change anything.
    pub(crate) fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// Refuses to go on where another may hold the store by now; renews where it ran out because the server was away.
    pub(crate) fn check(&self, deadline: Deadline) -> Result<(), StoreError> {
        {
            let held = self.inner.held();
            if let Some(holder) = &held.lost_to {
                return Err(self.inner.error(holder));
            }
            if Instant::now() < held.until {
                return Ok(());
            }
        }
        self.inner
            .renew(|servers, request| servers.ask_one(request, deadline))
    }

    /// Notes that another holds the store.
    pub(crate) fn lost(&self) -> StoreError {
        self.inner.lost("")
    }
}

impl Inner {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew_until_over(&self) {
        let mut pause = self.lasts / 3;
        loop {
            let held = self.held();
            let waited = self.stop.wait_timeout_while(held, pause, |held| !held.is_over);
            let (held, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if held.is_over || held.lost_to.is_some() {
                return;
            }
            drop(held);
            let deadline = self.servers.deadline().within(self.lasts);
            pause = match self.renew(|servers, request| servers.ask_patiently(request, deadline)) {
                Ok(()) => self.lasts / 3,
                // What it says is told to the calls that need it.
                Err(_) => self.lasts / 20,
            };
        }
    }

    fn renew(
        &self,
        ask: impl FnOnce(&Servers, Request) -> Result<Value, StoreError>,
    ) -> Result<(), StoreError> {
        let (lease, catalogue) = (self.names.meta(Meta::Lease), self.names.meta(Meta::Catalogue));
        let request = Request::script(Script::Renew, &[&lease, &catalogue])
            .arg(self.me.as_bytes())
            .arg(self.lasts.as_millis().to_string().as_bytes())
            .arg(self.epoch.to_string().as_bytes());
        let asked = Instant::now();
        let reply = ask(&self.servers, request)?;
        match reply {
            Value::Array(reply) => match reply.as_slice() {
                [Value::Int(1), _] => {
                    let mut held = self.held();
                    held.until = held.until.max(asked + self.lasts);
                    Ok(())
                }
                [Value::Int(0), holder] => Err(self.lost(&text(holder))),
                _ => Err(failure::odd_reply(self.servers.place())),
            },
            _ => Err(failure::odd_reply(self.servers.place())),
        }
    }

    fn lost(&self, holder: &str) -> StoreError {
        let mut held = self.held();
        let known = held.lost_to.get_or_insert_with(|| holder.to_owned());
        self.error(known)
    }

    fn error(&self, holder: &str) -> StoreError {
        held(self.servers.place(), holder)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let was_lost = {
            let mut held = self.inner.held();
            held.is_over = true;
            held.lost_to.is_some()
        };
        self.inner.stop.notify_all();
        if let Some(renewing) = self.renewing.take() {
            let _ = renewing.join();
        }
        if !was_lost {
            let lease = self.inner.names.meta(Meta::Lease);
            let request = Request::script(Script::Release, &[&lease]).arg(self.inner.me.as_bytes());
            // Where it cannot be given back now, it runs out.
            let deadline = self.inner.servers.deadline().within(Duration::from_millis(500));
            let _ = self.inner.servers.ask_one(request, deadline);
        }
    }
}

/// The error that names a holder.
fn held(place: &str, holder: &str) -> StoreError {
    let mut words = holder.split(' ');
    let reason = match (words.next(), words.next()) {
        (Some(host), Some(process)) => format!("process {process} on {host} holds it"),
        _ => "another process has taken it since".to_owned(),
    };
    StoreError::Held {
        place: place.into(),
        reason,
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The name of this machine, as far as it is known.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown".to_owned(),
        name => name.replace(' ', "-"),
    }
}
