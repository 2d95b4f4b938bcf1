//! The servers of a store: requests go to the one that has their slot, many at once, until a deadline.
//!
//! A request is sent again where its connection broke or its server said that it cannot answer yet, so each must be one
//! that changes nothing when it is made twice.
//!
//! In each bucket lies a *mark*, the id of the store, as it does in the catalogue. One is read with every group of
//! requests for a server: where it is gone, so is what lay beside it, and nothing that the server says is taken for an
//! answer.

mod link;
mod topology;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use asof_core::online::StoreError;
use redis::{Cmd, RedisError, ServerError, Value};

use self::link::{Link, Node};
use self::topology::Topology;
use crate::deadline::Deadline;
use crate::failure::{self, Refusal};
use crate::names::{Bucket, Meta, Name, Names};
use crate::options::{Address, Place};
use crate::scripts::Script;

/// How long it waits before it asks again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How long it waits for a server that was waited for in vain: what needs several answers does not wait for each.
const SILENT: Duration = Duration::from_millis(200);
/// How many requests go out at once, and bytes of them.
const AT_ONCE: (usize, usize) = (1_000, 1 << 20);

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// To the server of a slot.
    Slot(u16, Option<Bucket>),
    /// To a server.
    Node(Address),
}

/// Something to ask of a server, any number of times with the same effect.
#[derive(Clone)]
pub(crate) struct Request {
    target: Target,
    command: Cmd,
}

impl Request {
    /// A command of one name.
    pub(crate) fn new(command: &str, name: &Name) -> Self {
        let mut request = Self::at(Target::Slot(name.slot, name.bucket), command);
        request.command.arg(name.bytes.as_slice());
        request
    }

    /// A script over names that lie in one slot.
    pub(crate) fn script(script: Script, names: &[&Name]) -> Self {
        let target = match names.first() {
            Some(name) => Target::Slot(name.slot, name.bucket),
            None => Target::Slot(0, None),
        };
        let mut request = Self::at(target, "EVALSHA");
        request.command.arg(script.hash()).arg(names.len());
        for name in names {
            request.command.arg(name.bytes.as_slice());
        }
        request
    }

    /// A command for a server.
    pub(crate) fn to(node: &Address, command: &str) -> Self {
        Self::at(Target::Node(node.clone()), command)
    }

    fn at(target: Target, command: &str) -> Self {
        let mut packed = Cmd::new();
        packed.arg(command);
        Self {
            target,
            command: packed,
        }
    }

    pub(crate) fn arg(mut self, argument: &[u8]) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<T: AsRef<[u8]>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        for argument in arguments {
            self.command.arg(argument.as_ref());
        }
        self
    }

    /// The server that it goes to, where one is known.
    fn owner<'a>(&'a self, topology: &'a Topology) -> Option<&'a Address> {
        match &self.target {
            Target::Node(node) => Some(node),
            Target::Slot(slot, _) => topology.owner(*slot),
        }
    }

    fn size(&self) -> usize {
        let arguments = self.command.args_iter();
        let sizes = arguments.map(|argument| match argument {
            redis::Arg::Simple(bytes) => bytes.len() + 16,
            _ => 16,
        });
        sizes.sum()
    }
}

/// The servers of a store.
pub(crate) struct Servers {
    place: Place,
    names: Names,
    deadline: Duration,
    topology: RwLock<Arc<Topology>>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    /// Whether any of them was ever silent.
    any_silent: AtomicBool,
    /// The id of the store, once its marks are there.
    id: OnceLock<String>,
    pub(crate) told: Told,
}

/// What the servers were asked since the process began.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Requests.
    pub(crate) requests: AtomicU64,
    /// Times that some of them were asked again.
    pub(crate) again: AtomicU64,
    /// Times that some of them were given up.
    pub(crate) failed: AtomicU64,
}

/// Why requests have no answer yet.
struct Trouble {
    error: StoreError,
    /// Whether the slots may be elsewhere.
    look: bool,
    /// Whether the same may work at once.
    at_once: bool,
}

impl Servers {
    pub(crate) fn new(place: Place, names: Names, deadline: Duration) -> Self {
        let topology = match place.seeds.as_slice() {
            [address] if !place.is_cluster => Topology::single(address.clone()),
            _ => Topology::default(),
        };
        Self {
            place,
            names,
            deadline,
            topology: RwLock::new(Arc::new(topology)),
            nodes: Mutex::default(),
            any_silent: AtomicBool::new(false),
            id: OnceLock::new(),
            told: Told::default(),
        }
    }

    /// What errors call the store.
    pub(crate) fn place(&self) -> &str {
        &self.place.shown
    }

    /// What errors call a server.
    pub(crate) fn shown(&self, address: &Address) -> String {
        format!("{}://{address}", self.place.scheme())
    }

    /// Until when a call that begins now may wait.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.deadline)
    }

    /// From now on the marks are read.
    pub(crate) fn expect_marks(&self, id: &str) {
        let _ = self.id.set(id.to_owned());
    }

    /// All servers that have slots, as far as is known.
    pub(crate) fn masters(&self, deadline: Deadline) -> Result<Vec<Address>, StoreError> {
        let masters = self.topology().masters();
        if !masters.is_empty() {
            return Ok(masters);
        }
        self.look(deadline)?;
        Ok(self.topology().masters())
    }

    /// Asks and returns the answers in the same order: every one, or an error.
    ///
    /// However many there are, no more go out at once than a server should hold in memory. Without a deadline for all of
    /// them, each step may wait for as long as a call.
    pub(crate) fn ask_all(
        &self,
        requests: impl IntoIterator<Item = Request>,
        deadline: Option<Deadline>,
    ) -> Result<Vec<Value>, StoreError> {
        let mut replies = Vec::new();
        let mut requests = requests.into_iter().peekable();
        let mut step = Vec::new();
        while requests.peek().is_some() {
            step.clear();
            let mut size = 0;
            while size < AT_ONCE.1
                && step.len() < AT_ONCE.0
                && let Some(request) = requests.next()
            {
                size += request.size();
                step.push(request);
            }
            replies.extend(self.ask(&step, deadline.unwrap_or_else(|| self.deadline()))?);
        }
        Ok(replies)
    }

    /// Asks one thing.
    pub(crate) fn ask_one(&self, request: Request, deadline: Deadline) -> Result<Value, StoreError> {
        let reply = self.ask(std::slice::from_ref(&request), deadline)?;
        self.only(reply)
    }

    fn only(&self, replies: Vec<Value>) -> Result<Value, StoreError> {
        let reply = replies.into_iter().next();
        reply.ok_or_else(|| failure::odd_reply(self.place()))
    }

    /// The same of a server that was silent as well as of others: whether it answers again.
    pub(crate) fn ask_patiently(&self, request: Request, deadline: Deadline) -> Result<Value, StoreError> {
        let reply = self.ask_until(std::slice::from_ref(&request), deadline)?;
        self.only(reply)
    }

    /// Asks and returns the answers in the same order: every one, or an error once the deadline has passed, or soon where a
    /// server was waited for in vain and has not answered since.
    pub(crate) fn ask(&self, requests: &[Request], deadline: Deadline) -> Result<Vec<Value>, StoreError> {
        let deadline = match self.are_silent(requests) {
            true => deadline.within(SILENT),
            false => deadline,
        };
        self.ask_until(requests, deadline)
    }

    fn ask_until(&self, requests: &[Request], deadline: Deadline) -> Result<Vec<Value>, StoreError> {
        let mut replies: Vec<Option<Value>> = vec![None; requests.len()];
        let mut pause = PAUSES.0;
        let mut asked_at_once = false;
        let is_patient = deadline.left() > self.deadline / 2;
        self.told
            .requests
            .fetch_add(requests.len() as u64, Ordering::Relaxed);
        while let Some(trouble) = self.round(requests, &mut replies, deadline)? {
            if deadline.left() <= pause {
                self.told.failed.fetch_add(1, Ordering::Relaxed);
                if is_patient {
                    self.note_silent(requests, &replies);
                }
                return Err(trouble.error);
            }
            self.told.again.fetch_add(1, Ordering::Relaxed);
            if trouble.look && self.place.is_cluster {
                // Where it fails, the servers as they were known are asked again.
                let _ = self.look(deadline.within(self.deadline / 4));
            }
            if trouble.at_once && !asked_at_once {
                asked_at_once = true;
                continue;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
        let replies: Option<Vec<Value>> = replies.into_iter().collect();
        replies.ok_or_else(|| failure::odd_reply(self.place()))
    }

    /// Whether any of the servers that have what is asked for was waited for in vain, and has not answered since.
    fn are_silent(&self, requests: &[Request]) -> bool {
        if !self.any_silent.load(Ordering::Acquire) {
            return false;
        }
        let topology = self.topology();
        let owners = requests.iter().filter_map(|request| request.owner(&topology));
        let owners: BTreeSet<&Address> = owners.collect();
        owners.into_iter().any(|owner| self.node(owner).is_silent())
    }

    /// Notes the servers that gave no answer.
    fn note_silent(&self, requests: &[Request], replies: &[Option<Value>]) {
        let topology = self.topology();
        let left = requests.iter().zip(replies).filter(|(_, reply)| reply.is_none());
        for owner in left.filter_map(|(request, _)| request.owner(&topology)) {
            self.node(owner).note_silent(true);
            self.any_silent.store(true, Ordering::Release);
        }
    }

    /// Asks once what has no answer yet, of all servers at the same time.
    fn round(
        &self,
        requests: &[Request],
        replies: &mut [Option<Value>],
        deadline: Deadline,
    ) -> Result<Option<Trouble>, StoreError> {
        let topology = self.topology();
        let mut trouble = None;
        let mut groups: BTreeMap<Address, Vec<usize>> = BTreeMap::new();
        for (at, (request, reply)) in requests.iter().zip(replies.iter()).enumerate() {
            if reply.is_some() {
                continue;
            }
            match request.owner(&topology) {
                Some(owner) => groups.entry(owner.clone()).or_default().push(at),
                None => {
                    trouble = Some(Trouble {
                        error: failure::failed(
                            self.place(),
                            "no server is known to have a part of the store",
                        ),
                        look: true,
                        at_once: true,
                    });
                }
            }
        }
        let mut sent = Vec::with_capacity(groups.len());
        for (address, group) in groups {
            let node = self.node(&address);
            match self.send(&address, &node, requests, &group, deadline) {
                Ok(link) => sent.push((address, node, group, link)),
                Err(error) => trouble = Some(self.broken(&address, &node, &error)?),
            }
        }
        for (address, node, group, link) in sent {
            let met = self.receive(&address, &node, link, (requests, &group), replies, deadline)?;
            trouble = met.or(trouble);
        }
        Ok(trouble)
    }

    /// Sends a group of requests, with one for a mark before them.
    fn send(
        &self,
        address: &Address,
        node: &Node,
        requests: &[Request],
        group: &[usize],
        deadline: Deadline,
    ) -> Result<Link, RedisError> {
        let mut bytes = Vec::new();
        let group = || group.iter().filter_map(|at| requests.get(*at));
        self.marks(group())
            .iter()
            .for_each(|mark| mark.write_packed_command(&mut bytes));
        group().for_each(|request| request.command.write_packed_command(&mut bytes));
        let mut link = match node.take() {
            Some(link) => link,
            None => Link::connect(address, &self.place, deadline)?,
        };
        link.send(&bytes, deadline)?;
        Ok(link)
    }

    /// What is read with a group of requests to see that the server has its data: a mark, and that of meta.
    fn marks<'a>(&self, group: impl Iterator<Item = &'a Request>) -> Vec<Cmd> {
        if self.id.get().is_none() {
            return Vec::new();
        }
        let (mut bucket, mut meta) = (None, None);
        for request in group {
            match &request.target {
                Target::Slot(_, Some(of)) => bucket = bucket.or(Some(*of)),
                Target::Slot(_, None) => meta = Some(self.names.meta(Meta::Catalogue)),
                Target::Node(_) => {}
            }
        }
        let bucket = bucket.map(|bucket| {
            let mut mark = Cmd::new();
            mark.arg("GET").arg(self.names.mark(bucket).bytes);
            mark
        });
        let meta = meta.map(|catalogue| {
            let mut mark = Cmd::new();
            mark.arg("HGET").arg(catalogue.bytes).arg("id");
            mark
        });
        bucket.into_iter().chain(meta).collect()
    }

    /// Takes in the answers to a group.
    fn receive(
        &self,
        address: &Address,
        node: &Node,
        mut link: Link,
        (requests, group): (&[Request], &[usize]),
        replies: &mut [Option<Value>],
        deadline: Deadline,
    ) -> Result<Option<Trouble>, StoreError> {
        let place = self.shown(address);
        let mut trouble = None;
        let mut refused = Ok(());
        let mut asks = Vec::new();
        let mut no_script = false;
        let marks = self.marks(group.iter().filter_map(|at| requests.get(*at)));
        let expected = marks.iter().map(|_| None).chain(group.iter().map(|at| Some(*at)));
        for (number, at) in expected.enumerate() {
            let reply = match link.receive(number, deadline) {
                Ok(reply) => reply,
                Err(error) => return self.broken(address, node, &error).map(Some),
            };
            let error = match reply {
                Value::ServerError(error) => error,
                reply => {
                    match at {
                        Some(at) => put(replies, at, reply),
                        None => refused = refused.and(self.check_mark(&place, &reply)),
                    }
                    continue;
                }
            };
            let met = |look, at_once| Trouble {
                error: failure::of_reply(&place, &error),
                look,
                at_once,
            };
            match (failure::refusal(&error), at) {
                (Refusal::Elsewhere, _) => trouble = Some(met(true, true)),
                (Refusal::Ask(other), Some(at)) => asks.push((at, other, met(true, true))),
                (Refusal::NoScript, _) => {
                    no_script = true;
                    trouble = Some(met(false, true));
                }
                // A mark that has moved on lies beside what is asked for there.
                (Refusal::Ask(_), None) => {}
                (Refusal::Later, _) => trouble = Some(met(true, false)),
                (Refusal::Final, _) => refused = refused.and(Err(met(false, false).error)),
            }
        }
        if no_script && let Err(error) = link.load_scripts(deadline) {
            trouble = Some(self.broken(address, node, &error)?);
        } else {
            node.give_back(link);
            node.note_silent(false);
        }
        refused?;
        for (at, other, met) in asks {
            let answer = requests
                .get(at)
                .map(|request| self.ask_other(&other, request, deadline));
            match answer {
                Some(Ok(reply)) => put(replies, at, reply),
                _ => trouble = Some(met),
            }
        }
        Ok(trouble)
    }

    /// Asks a server to which a key is moving.
    fn ask_other(&self, other: &str, request: &Request, deadline: Deadline) -> Result<Value, RedisError> {
        let odd = || RedisError::from((redis::ErrorKind::Client, "no such server"));
        let (host, port) = other.rsplit_once(':').ok_or_else(odd)?;
        let address = Address {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().map_err(|_| odd())?,
        };
        let node = self.node(&address);
        let mut link = match node.take() {
            Some(link) => link,
            None => Link::connect(&address, &self.place, deadline)?,
        };
        let mut bytes = Vec::new();
        Cmd::new().arg("ASKING").write_packed_command(&mut bytes);
        request.command.write_packed_command(&mut bytes);
        link.send(&bytes, deadline)?;
        link.receive(0, deadline)?.extract_error()?;
        let reply = link.receive(1, deadline)?.extract_error()?;
        node.give_back(link);
        Ok(reply)
    }

    fn check_mark(&self, place: &str, reply: &Value) -> Result<(), StoreError> {
        let reason = match (reply, self.id.get()) {
            (Value::BulkString(mark), Some(id)) if mark == id.as_bytes() => return Ok(()),
            (Value::Nil, _) => {
                "what it had of the store is gone: restore its data, or empty all servers, start asof anew and materialize"
            }
            _ => "it has the data of another store",
        };
        Err(StoreError::Damaged {
            place: place.into(),
            reason: reason.into(),
        })
    }

    /// What becomes of requests whose connection broke.
    fn broken(&self, address: &Address, node: &Node, error: &RedisError) -> Result<Trouble, StoreError> {
        node.forget();
        let told = match link::is_final(error) {
            // What the library says may have what was sent.
            true if error.kind() == redis::ErrorKind::AuthenticationFailed => {
                failure::failed(&self.shown(address), "it refuses the user or the password")
            }
            _ => failure::of_link(&self.shown(address), error),
        };
        match link::is_final(error) {
            true => Err(told),
            false => Ok(Trouble {
                error: told,
                look: true,
                // One that was kept may have been broken for long.
                at_once: !error.is_timeout() && !error.is_connection_refusal(),
            }),
        }
    }

    /// Asks the cluster where its slots are.
    fn look(&self, deadline: Deadline) -> Result<(), StoreError> {
        let mut known = self.topology().masters();
        known.extend(self.place.seeds.iter().cloned());
        let mut last = failure::failed(self.place(), "no server was reached");
        for (asked, address) in known.iter().enumerate() {
            // Some for each that is left to ask.
            let left = u32::try_from(known.len() - asked).unwrap_or(1);
            match self.slots_at(address, deadline.within(deadline.left() / left)) {
                Ok(topology) => {
                    *self.topology.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(topology);
                    return Ok(());
                }
                Err(error) => last = error,
            }
            if deadline.has_passed() {
                break;
            }
        }
        Err(last)
    }

    fn slots_at(&self, address: &Address, deadline: Deadline) -> Result<Topology, StoreError> {
        let node = self.node(address);
        let place = self.shown(address);
        let ask = |mut link: Link| {
            let mut bytes = Vec::new();
            Cmd::new()
                .arg("CLUSTER")
                .arg("SLOTS")
                .write_packed_command(&mut bytes);
            link.send(&bytes, deadline)?;
            let reply = link.receive(0, deadline)?;
            Ok::<_, RedisError>((link, reply))
        };
        let asked = match node.take().map(ask) {
            Some(Ok(asked)) => Ok(asked),
            _ => Link::connect(address, &self.place, deadline).and_then(ask),
        };
        let (link, reply) = match asked {
            Ok(asked) => asked,
            Err(error) => return Err(self.broken(address, &node, &error)?.error),
        };
        node.give_back(link);
        match reply {
            Value::ServerError(error) => Err(self.not_a_cluster(&place, &error)),
            reply => Topology::parse(&reply, address)
                .filter(|topology| !topology.masters().is_empty())
                .ok_or_else(|| failure::failed(&place, "it knows no server that has slots of the cluster")),
        }
    }

    fn not_a_cluster(&self, place: &str, error: &ServerError) -> StoreError {
        match error
            .details()
            .is_some_and(|details| details.contains("cluster support disabled"))
        {
            true => {
                let scheme = self.place.scheme();
                failure::failed(
                    place,
                    &format!(
                        "it is no server of a cluster: write {scheme}:// in the place of {scheme}+cluster://"
                    ),
                )
            }
            false => failure::of_reply(place, error),
        }
    }

    fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(nodes.entry(address.clone()).or_default())
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn put(replies: &mut [Option<Value>], at: usize, reply: Value) {
    if let Some(place) = replies.get_mut(at) {
        *place = Some(reply);
    }
}
