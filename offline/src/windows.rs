//! The features of views of aggregates, computed of the events of keys.
//!
//! However events came together (out of an index of the spine's keys, or out of two sorted sides), they are answered
//! here: those of one key after the other, by [`asof_core::aggregate::sweep`], over the instants that are asked about.

mod answered;
mod events;
mod late;

use std::ops::Range;

use asof_core::aggregate::{Partial, Place, Sweep, Wanted};
use asof_core::definition::{Aggregates, Feature, View};
use asof_core::time::Timestamp;
use asof_core::window::Window;

pub(crate) use answered::Answered;
pub(crate) use events::{EventColumns, Pending};

use crate::error::{OfflineError, Result};
use answered::Answering;
use events::KeyEvents;
use late::held_back;

/// What is computed for a view of aggregates.
#[derive(Debug, Clone)]
pub(crate) struct Windows {
    aggregates: Aggregates,
    sweep: Sweep,
    /// Per state and window of it the features that are computed of that.
    features: Vec<Vec<Vec<usize>>>,
    /// The longest first, without those that a longer one always covers.
    windows: Vec<Window>,
    as_corrected: bool,
}

/// A key that is asked about.
#[derive(Debug, Clone)]
pub(crate) struct AskedKey<'a> {
    /// Its events, in their order.
    pub(crate) events: Range<usize>,
    /// The instants, ascending, each once.
    pub(crate) instants: &'a [Timestamp],
}

impl Windows {
    /// What is computed for a view, where it is one of aggregates.
    pub(crate) fn of(view: &View, as_corrected: bool) -> Option<Self> {
        let aggregates = view.aggregates()?;
        let states = aggregates.states().iter().enumerate();
        let wanted: Vec<Wanted> = states
            .map(|(number, (_, state))| Wanted {
                state: *state,
                windows: aggregates.windows_of(number),
            })
            .collect();
        let features = |state: usize, window: &Window| {
            let all = aggregates.windowed().iter().enumerate();
            all.filter(|(_, feature)| feature.state == state && feature.window == *window)
                .map(|(number, _)| number)
                .collect()
        };
        let of_state = |(number, wanted): (usize, &Wanted)| {
            let windows = wanted.windows.iter();
            windows.map(|window| features(number, window)).collect()
        };
        let mut windows = aggregates.windows();
        windows.sort_unstable_by(|a, b| b.cmp(a));
        let mut longest: Vec<Window> = Vec::new();
        windows.retain(|window| {
            let is_covered = longest.iter().any(|longer| longer.always_covers(*window));
            if !is_covered {
                longest.push(*window);
            }
            !is_covered
        });
        Some(Self {
            features: wanted.iter().enumerate().map(of_state).collect(),
            windows,
            aggregates: aggregates.clone(),
            sweep: Sweep::new(&wanted),
            as_corrected,
        })
    }

    /// The aggregates of the view.
    pub(crate) fn aggregates(&self) -> &Aggregates {
        &self.aggregates
    }

    /// The features of the view.
    pub(crate) fn features(&self) -> &[Feature] {
        self.aggregates.features()
    }

    /// The instant after which events count for some feature at `at`; `None` where all do that lie before it.
    pub(crate) fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let mut earliest = Some(Timestamp::MAX);
        for window in &self.windows {
            earliest = earliest.zip(window.after(at)).map(|(a, b)| a.min(b));
        }
        earliest
    }

    /// Whether an event that is not after an instant counts there for some feature.
    pub(crate) fn reach(&self, event_time: Timestamp, at: Timestamp) -> bool {
        let mut windows = self.windows.iter();
        windows.any(|window| window.after(at).is_none_or(|after| event_time > after))
    }

    /// Whether features look back without an end.
    pub(crate) fn has_no_end(&self) -> bool {
        self.windows.contains(&Window::All)
    }

    /// The features of some keys at all of their instants, one key after the other.
    pub(crate) fn answer<'k>(
        &self,
        events: &EventColumns,
        keys: impl Iterator<Item = AskedKey<'k>>,
    ) -> Result<Answered> {
        let mut answering = Answering::new(self.aggregates.features());
        for key in keys {
            self.answer_key(events, &key, &mut answering)?;
        }
        answering.finish()
    }

    fn answer_key(&self, events: &EventColumns, key: &AskedKey<'_>, answering: &mut Answering) -> Result<()> {
        let events = events.of_key(key.events.clone(), &self.aggregates);
        let held_back = match self.as_corrected {
            true => vec![false; key.instants.len()],
            false => held_back(&events, key.instants, |at| self.after(at)),
        };
        let instants = key.instants.iter().zip(&held_back);
        let compared: Vec<Timestamp> = instants
            .filter(|(_, held_back)| **held_back)
            .map(|(at, _)| *at)
            .collect();
        if !compared.is_empty() {
            // Only where an event was left out can there be other values as corrected.
            self.sweep(&events, true, &compared, |_, _, bytes| {
                answering.expect(bytes);
                Ok(())
            })?;
        }
        answering.begin(&held_back);
        self.sweep(
            &events,
            self.as_corrected,
            key.instants,
            |instant, feature, bytes| answering.push(instant, feature, bytes),
        )?;
        answering.end();
        Ok(())
    }

    /// Gives each feature at each instant, as it is stored, `None` where it is null.
    fn sweep(
        &self,
        events: &KeyEvents<'_>,
        as_corrected: bool,
        instants: &[Timestamp],
        mut ready: impl FnMut(usize, usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        self.sweep
            .over(
                events,
                as_corrected,
                instants,
                |place: Place, partial: &Partial| {
                    let features = self
                        .features
                        .get(place.wanted)
                        .and_then(|windows| windows.get(place.window));
                    for feature in features.into_iter().flatten() {
                        let lost = || Failed(OfflineError::Internal("a feature is lost".into()));
                        let windowed = self.aggregates.windowed().get(*feature).ok_or_else(lost)?;
                        bytes.clear();
                        let is_there = windowed.aggregation.finish(partial, &mut bytes)?;
                        ready(place.instant, *feature, is_there.then_some(bytes.as_slice()))
                            .map_err(Failed)?;
                    }
                    Ok::<_, Failed>(())
                },
            )
            .map_err(|Failed(error)| error)
    }
}

/// Why a sweep ended.
struct Failed(OfflineError);

impl From<asof_core::aggregate::Corrupt> for Failed {
    fn from(error: asof_core::aggregate::Corrupt) -> Self {
        Self(OfflineError::Internal(error.to_string()))
    }
}
