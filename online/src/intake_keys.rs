//! The keys of [`Family::Intake`](crate::keys::Family::Intake) and [`Family::Events`](crate::keys::Family::Events).
//!
//! A source is its project's name, `00`, its own name, `00`: names have neither.

use asof_core::key::EntityKey;
use asof_core::name::{ProjectName, SourceName};
use asof_core::online::intake::SourceAddress;
use asof_core::time::Timestamp;

use crate::keys::{flip, range_of};

/// A key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IntakeKey<'a> {
    /// `00`, source, number (8 bytes). Value: the entry.
    Entry(&'a SourceAddress, u64),
    /// `01`, source, id. Value: what was answered under the id.
    Answer(&'a SourceAddress, &'a str),
    /// `02`, when an answer was given (8 bytes), source, id. Value: empty.
    Given(Timestamp, &'a SourceAddress, &'a str),
    /// `03`, source. Value: how many rows were accepted (8 bytes).
    Accepted(&'a SourceAddress),
    /// `04`, source, lane. Value: how far the lane of a stream is read.
    Mark(&'a SourceAddress, &'a str),
}

const ENTRY: u8 = 0;
const ANSWER: u8 = 1;
const GIVEN: u8 = 2;
const ACCEPTED: u8 = 3;
const MARK: u8 = 4;

/// The bytes of a time.
const TIME: usize = 8;

impl IntakeKey<'_> {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Entry(source, number) => [&[ENTRY], &named(source)[..], &number.to_be_bytes()].concat(),
            Self::Answer(source, id) => [&[ANSWER], &named(source)[..], id.as_bytes()].concat(),
            Self::Given(at, source, id) => [&[GIVEN], &flip(at)[..], &named(source), id.as_bytes()].concat(),
            Self::Accepted(source) => [&[ACCEPTED], &named(source)[..]].concat(),
            Self::Mark(source, lane) => [&[MARK], &named(source)[..], lane.as_bytes()].concat(),
        }
    }

    /// The range of all entries.
    pub(crate) fn entries() -> (Vec<u8>, Vec<u8>) {
        range_of(vec![ENTRY])
    }

    /// The range of the entries of a source.
    pub(crate) fn entries_of(source: &SourceAddress) -> (Vec<u8>, Vec<u8>) {
        range_of([&[ENTRY], &named(source)[..]].concat())
    }

    /// The range of the marks of a source; behind what they start with, their keys are the lanes.
    pub(crate) fn marks_of(source: &SourceAddress) -> (Vec<u8>, Vec<u8>) {
        range_of(IntakeKey::Mark(source, "").to_bytes())
    }

    /// The range of [`IntakeKey::Given`] before an instant.
    pub(crate) fn given_before(at: Timestamp) -> (Vec<u8>, Vec<u8>) {
        (vec![GIVEN], [&[GIVEN], &flip(at)[..]].concat())
    }
}

/// A key of [`Family::Events`](crate::keys::Family::Events).
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventKey<'a> {
    /// `00`, source. Value: how far the index of its events goes.
    Indexed(&'a SourceAddress),
    /// `01`, source, id. Value: empty.
    Event(&'a SourceAddress, &'a EntityKey),
}

const INDEXED: u8 = 0;
const EVENT: u8 = 1;

impl EventKey<'_> {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Indexed(source) => [&[INDEXED], &named(source)[..]].concat(),
            Self::Event(source, id) => [&[EVENT], &named(source)[..], id.as_bytes()].concat(),
        }
    }

    /// The range of the events of a source.
    pub(crate) fn events_of(source: &SourceAddress) -> (Vec<u8>, Vec<u8>) {
        range_of([&[EVENT], &named(source)[..]].concat())
    }
}

fn named(source: &SourceAddress) -> Vec<u8> {
    let SourceAddress { project, source } = source;
    [project.as_str(), "\0", source.as_str(), "\0"]
        .concat()
        .into_bytes()
}

/// The source and the number of a key of an entry.
pub(crate) fn entry_of(key: &[u8]) -> Option<(SourceAddress, u64)> {
    let (source, number) = key.strip_prefix(&[ENTRY])?.split_last_chunk::<8>()?;
    let mut names = source.strip_suffix(&[0])?.split(|byte| *byte == 0);
    let mut name = || std::str::from_utf8(names.next()?).ok();
    let source = SourceAddress {
        project: ProjectName::parse(name()?).ok()?,
        source: SourceName::parse_stored(name()?).ok()?,
    };
    names
        .next()
        .is_none()
        .then_some((source, u64::from_be_bytes(*number)))
}

/// Whether a key is one of [`IntakeKey`], as far as that is seen of the key alone.
pub(crate) fn is_intake_key(key: &[u8]) -> bool {
    match key.first() {
        Some(&ENTRY) => entry_of(key).is_some(),
        Some(kind) => (ANSWER..=MARK).contains(kind),
        None => false,
    }
}

/// The key of the answer of which a key says when it was given.
pub(crate) fn answer_of(given: &[u8]) -> Option<Vec<u8>> {
    let answer = given.strip_prefix(&[GIVEN])?.get(TIME..)?;
    Some([&[ANSWER], answer].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(project: &str, source: &str) -> SourceAddress {
        SourceAddress {
            project: ProjectName::parse(project).unwrap(),
            source: SourceName::parse(source).unwrap(),
        }
    }

    #[test]
    fn the_bytes_are_these_for_ever() {
        let of = source("p", "s");
        let at = Timestamp::from_micros(5);
        let bytes = [
            IntakeKey::Entry(&of, 7).to_bytes(),
            IntakeKey::Answer(&of, "id").to_bytes(),
            IntakeKey::Given(at, &of, "id").to_bytes(),
            IntakeKey::Accepted(&of).to_bytes(),
            IntakeKey::Mark(&of, "lane").to_bytes(),
        ];
        assert_eq!(bytes[0], b"\0p\0s\0\0\0\0\0\0\0\0\x07");
        assert_eq!(bytes[1], b"\x01p\0s\0id");
        assert_eq!(bytes[2], b"\x02\x80\0\0\0\0\0\0\x05p\0s\0id");
        assert_eq!(bytes[3], b"\x03p\0s\0");
        assert_eq!(bytes[4], b"\x04p\0s\0lane");
        let id = EntityKey::from_encoded(b"id");
        assert_eq!(EventKey::Indexed(&of).to_bytes(), b"\0p\0s\0");
        assert_eq!(EventKey::Event(&of, &id).to_bytes(), b"\x01p\0s\0id");
        assert_eq!(entry_of(&bytes[0]), Some((of, 7)));
        assert_eq!(answer_of(&bytes[2]).as_ref(), Some(&bytes[1]));
        let dead = source("p", "s").dead_letters();
        let entry = IntakeKey::Entry(&dead, 7).to_bytes();
        assert_eq!(entry, b"\0p\0s__dead\0\0\0\0\0\0\0\0\x07");
        assert_eq!(entry_of(&entry), Some((dead, 7)));
    }

    #[test]
    fn sources_whose_names_begin_alike_do_not_mix() {
        let (short, long) = (source("a", "b"), source("a", "b_c"));
        let (start, end) = IntakeKey::entries_of(&short);
        for number in [0, 1, u64::MAX] {
            let own = IntakeKey::Entry(&short, number).to_bytes();
            let other = IntakeKey::Entry(&long, number).to_bytes();
            assert!(start <= own && own < end);
            assert!(!(start <= other && other < end));
        }
    }
}
