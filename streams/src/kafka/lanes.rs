//! Partitions and what was read of them, between the thread that reads and whoever takes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::{Batch, Mark, Message, StreamError};

/// How many messages are held at most, but for those that come in one go.
const MOST_MESSAGES: usize = 16_384;
/// How many bytes of payloads are.
const MOST_BYTES: usize = 4 << 20;

/// The partitions that this member of the group has.
#[derive(Default)]
pub(super) struct Lanes {
    /// Held for as long as messages are moved in or out, never while anything is waited for.
    held: Mutex<Held>,
    /// Something can be taken.
    arrived: Notify,
    /// Something was taken, or nobody takes any more.
    taken: Condvar,
}

/// What a caller asks for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// How many messages at most.
    pub(super) most: usize,
    /// The bytes of payloads that are enough.
    pub(super) bytes: usize,
}

#[derive(Default)]
struct Held {
    lanes: BTreeMap<i32, Lane>,
    /// The partition that was taken from last.
    last: i32,
    messages: usize,
    bytes: usize,
    /// Marks that were kept and not committed.
    kept: BTreeMap<i32, u64>,
    /// Why nothing comes any more.
    end: Option<StreamError>,
    /// Whether nobody takes any more.
    left: bool,
}

/// A partition.
pub(super) struct Lane {
    name: Arc<str>,
    /// The mark behind what was returned.
    returned: Option<Mark>,
    /// The first offset that was not read from the broker; absent means the first that there is.
    next: Option<u64>,
    /// The mark that is to be kept before anything is read.
    begin: Option<u64>,
    /// How many messages there are no more, between those that are held and `next`.
    lost: u64,
    messages: VecDeque<Waiting>,
}

/// A message that nobody has taken.
struct Waiting {
    message: Message,
    /// How many there are no more right before it.
    lost: u64,
}

impl Lanes {
    /// Takes the partitions that are given to this member, in the place of all it had.
    pub(super) fn assign(&self, lanes: BTreeMap<i32, Lane>) {
        let mut held = self.held();
        held.revoke();
        held.lanes = lanes;
        self.arrived.notify_one();
    }

    /// Gives them up, with all that is held of them.
    pub(super) fn revoke(&self) {
        self.held().revoke();
        self.taken.notify_one();
    }

    /// Takes messages, each with its partition. Those of partitions that were given up are dropped.
    pub(super) fn put(&self, messages: impl IntoIterator<Item = (i32, Message)>) -> Result<(), StreamError> {
        let mut held = self.held();
        for (partition, message) in messages {
            held.put(partition, message)?;
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits until there is room for messages, for a time. Whether there is.
    pub(super) fn has_room(&self, patience: Duration) -> bool {
        let held = self.held();
        let (held, _) = self
            .taken
            .wait_timeout_while(held, patience, |held| held.is_full() && !held.left)
            .unwrap_or_else(PoisonError::into_inner);
        !held.is_full()
    }

    /// Waits for messages of one partition, or for the end.
    pub(super) async fn next(&self, wanted: Wanted) -> Result<Batch, StreamError> {
        loop {
            if let Some(taken) = self.held().take(wanted) {
                self.taken.notify_one();
                return taken;
            }
            self.arrived.notified().await;
        }
    }

    /// Where partitions are read on, of those that this member has: the first offset that was not read from the broker,
    /// where it is known.
    pub(super) fn read(&self) -> Vec<(i32, Option<u64>)> {
        self.held()
            .lanes
            .iter()
            .map(|(partition, lane)| (*partition, lane.next))
            .collect()
    }

    /// Goes on at an offset, as what was before is there no more.
    pub(super) fn skip(&self, partition: i32, to: u64) {
        if let Some(lane) = self.held().lanes.get_mut(&partition) {
            lane.lost += to.saturating_sub(lane.next.unwrap_or(to));
            lane.next = Some(to);
        }
    }

    /// The first offsets that were not returned, where they are known.
    pub(super) fn returned(&self) -> Vec<(i32, Arc<str>, Option<u64>)> {
        let lane = |(partition, lane): (&i32, &Lane)| {
            let next = lane.returned.as_ref().map(|mark| mark.next);
            (*partition, Arc::clone(&lane.name), next.or(lane.begin))
        };
        self.held().lanes.iter().map(lane).collect()
    }

    /// Notes that a mark was kept.
    pub(super) fn kept(&self, lane: &str, mark: &Mark) {
        let mut held = self.held();
        let of_name = held.lanes.iter().find(|(_, it)| *it.name == *lane);
        if let Some(partition) = of_name.map(|(partition, _)| *partition) {
            held.kept.insert(partition, mark.next);
        }
    }

    /// The marks that were kept since this was asked last.
    pub(super) fn to_commit(&self) -> BTreeMap<i32, u64> {
        std::mem::take(&mut self.held().kept)
    }

    /// Lets nothing come any more but what is held. The first reason is told.
    pub(super) fn end(&self, why: StreamError) {
        self.held().end.get_or_insert(why);
        self.arrived.notify_one();
    }

    /// Takes nothing any more.
    pub(super) fn leave(&self) {
        self.held().left = true;
        self.taken.notify_one();
    }

    /// Whether there is nothing to read for: nobody takes, or the end has come.
    pub(super) fn is_over(&self) -> bool {
        let held = self.held();
        held.left || held.end.is_some()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn revoke(&mut self) {
        self.lanes.clear();
        self.kept.clear();
        self.messages = 0;
        self.bytes = 0;
    }

    fn is_full(&self) -> bool {
        self.messages >= MOST_MESSAGES || self.bytes >= MOST_BYTES
    }

    fn put(&mut self, partition: i32, message: Message) -> Result<(), StreamError> {
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return Ok(());
        };
        let bytes = size(&message);
        lane.put(message)?;
        self.messages += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// From the partitions in turn, so that none waits for ever.
    fn take(&mut self, wanted: Wanted) -> Option<Result<Batch, StreamError>> {
        let (before, after): (Vec<_>, Vec<_>) = self.lanes.iter_mut().partition(|(at, _)| **at <= self.last);
        let in_turn = after.into_iter().chain(before);
        let taken = in_turn
            .filter_map(|(at, lane)| Some((*at, lane.take(wanted)?)))
            .next();
        let Some((at, batch)) = taken else {
            return self.end.clone().map(Err);
        };
        self.last = at;
        self.messages -= batch.messages.len();
        self.bytes -= batch.messages.iter().map(size).sum::<usize>();
        Some(Ok(batch))
    }
}

impl Lane {
    /// A partition that is read behind a mark, or from its first message where there is none.
    pub(super) fn at(name: &str, mark: Option<Mark>) -> Self {
        Self {
            name: name.into(),
            next: mark.as_ref().map(|mark| mark.next),
            returned: mark,
            begin: None,
            lost: 0,
            messages: VecDeque::new(),
        }
    }

    /// A partition without a mark that is read from an offset on, which is kept first.
    pub(super) fn from(name: &str, offset: u64) -> Self {
        let next = Some(offset);
        Self {
            next,
            begin: next,
            ..Self::at(name, None)
        }
    }

    /// The first offset that is to be read from the broker; absent means the first that there is.
    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    fn put(&mut self, message: Message) -> Result<(), StreamError> {
        let (at, name) = (message.position, &self.name);
        if let Some(next) = self.next.filter(|next| at < *next) {
            return Err(StreamError::Unavailable(format!(
                "{name}: message {at} came where {next} was to come"
            )));
        }
        self.next = Some(at + 1);
        let lost = std::mem::take(&mut self.lost);
        self.messages.push_back(Waiting { message, lost });
        Ok(())
    }

    fn take(&mut self, wanted: Wanted) -> Option<Batch> {
        if let Some(next) = self.begin.take() {
            return Some(self.batch(Vec::new(), next, 0));
        }
        let Waiting { message, lost } = self.messages.pop_front()?;
        let mut next = message.position + 1;
        let mut bytes = size(&message);
        let mut messages = vec![message];
        while messages.len() < wanted.most && bytes < wanted.bytes {
            // A gap is told of by the batch behind it.
            let Some(Waiting { message, .. }) = self.messages.pop_front_if(|waiting| waiting.lost == 0)
            else {
                break;
            };
            next = message.position + 1;
            bytes += size(&message);
            messages.push(message);
        }
        Some(self.batch(messages, next, lost))
    }

    fn batch(&mut self, messages: Vec<Message>, next: u64, lost: u64) -> Batch {
        let after = Mark { next, epoch: None };
        let before = self.returned.replace(after.clone());
        Batch {
            lane: Arc::clone(&self.name),
            before,
            messages,
            after,
            lost,
        }
    }
}

fn size(message: &Message) -> usize {
    message.payload.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Wanted = Wanted {
        most: 100,
        bytes: 1000,
    };

    fn message(position: u64) -> Message {
        Message {
            position,
            payload: Some("ten bytes.".into()),
            published: None,
        }
    }

    fn lanes(of: impl IntoIterator<Item = (i32, Lane)>) -> Lanes {
        let lanes = Lanes::default();
        lanes.assign(of.into_iter().collect());
        lanes
    }

    fn put(lanes: &Lanes, partition: i32, positions: &[u64]) -> Result<(), StreamError> {
        lanes.put(positions.iter().map(|position| (partition, message(*position))))
    }

    fn take(lanes: &Lanes, wanted: Wanted) -> Option<(String, Vec<u64>, u64)> {
        let batch = lanes.held().take(wanted)?.unwrap();
        Some((
            batch.lane.to_string(),
            batch.messages.iter().map(|it| it.position).collect(),
            batch.lost,
        ))
    }

    fn marked(name: &str, next: u64) -> Lane {
        Lane::at(name, Some(Mark { next, epoch: None }))
    }

    #[test]
    fn partitions_come_in_turn() {
        let lanes = lanes([(0, Lane::at("a", None)), (1, Lane::at("b", None))]);
        put(&lanes, 0, &[0, 1, 2]).unwrap();
        put(&lanes, 1, &[5, 7]).unwrap();
        let two = Wanted { most: 2, ..ALL };
        assert_eq!(take(&lanes, two), Some(("b".to_owned(), vec![5, 7], 0)));
        assert_eq!(take(&lanes, two), Some(("a".to_owned(), vec![0, 1], 0)));
        assert_eq!(
            take(&lanes, Wanted { bytes: 10, ..ALL }),
            Some(("a".to_owned(), vec![2], 0))
        );
        assert_eq!(take(&lanes, ALL), None);
    }

    #[test]
    fn what_is_given_up_is_dropped() {
        let lanes = lanes([(0, marked("a", 3))]);
        put(&lanes, 0, &[3, 4]).unwrap();
        lanes.revoke();
        put(&lanes, 0, &[5]).unwrap();
        assert_eq!(take(&lanes, ALL), None);
        lanes.assign(BTreeMap::from([(0, marked("a", 3))]));
        put(&lanes, 0, &[3]).unwrap();
        assert_eq!(take(&lanes, ALL), Some(("a".to_owned(), vec![3], 0)));
    }

    #[test]
    fn what_is_lost_is_told_with_what_comes_behind_it() {
        let lanes = lanes([(0, marked("a", 3))]);
        put(&lanes, 0, &[3, 4]).unwrap();
        lanes.skip(0, 10);
        lanes.skip(0, 12);
        put(&lanes, 0, &[12, 13]).unwrap();
        assert_eq!(take(&lanes, ALL), Some(("a".to_owned(), vec![3, 4], 0)));
        assert_eq!(take(&lanes, ALL), Some(("a".to_owned(), vec![12, 13], 7)));
    }

    #[test]
    fn what_comes_again_or_too_early_is_an_error() {
        let lanes = lanes([(0, marked("a", 3))]);
        put(&lanes, 0, &[3, 8]).unwrap();
        assert!(put(&lanes, 0, &[8]).is_err());
        assert!(put(&lanes, 0, &[2]).is_err());
        put(&lanes, 0, &[9]).unwrap();
    }
}
