//! The metrics of streams.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Seconds, seconds};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Lane {
    source: String,
    lane: String,
}

/// What is counted of streams.
#[derive(Debug, Default)]
pub(crate) struct StreamMetrics {
    up: Family<Source, Gauge>,
    messages: Family<Lane, Counter>,
    dead_letters: Family<Lane, Counter>,
    lost: Family<Lane, Counter>,
    pending: Family<Lane, Gauge>,
    delay: Family<Lane, Seconds>,
    /// Those that `pending` and `delay` tell of.
    told: Mutex<BTreeSet<Lane>>,
}

impl StreamMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        let Self {
            up,
            messages,
            dead_letters,
            lost,
            pending,
            delay,
            told: _,
        } = &new;
        registry.register(
            "stream_up",
            "Whether the stream of a source is being read",
            up.clone(),
        );
        registry.register("stream_messages", "Messages that were read", messages.clone());
        let help =
            "Messages, or rows of such, that could not be taken in and went to the table of dead letters";
        registry.register("stream_dead_letters", help, dead_letters.clone());
        let help = "About how many messages were gone from the broker before they were read";
        registry.register("stream_lost_messages", help, lost.clone());
        let help =
            "Messages that are not taken in yet, at the broker or on their way, asked every five seconds";
        registry.register("stream_lag_messages", help, pending.clone());
        let help = "From when the last message that was read was published to when its rows could be read";
        registry.register("stream_delay_seconds", help, delay.clone());
        new
    }

    pub(crate) fn set_up(&self, source: &str, is_up: bool) {
        let of = Source {
            source: source.to_owned(),
        };
        self.up.get_or_create(&of).set(i64::from(is_up));
    }

    pub(crate) fn taken_in(
        &self,
        source: &str,
        lane: &str,
        messages: u64,
        dead_letters: u64,
        delay_micros: Option<i64>,
    ) {
        let of = Lane::of(source, lane);
        self.messages.get_or_create(&of).inc_by(messages);
        self.dead_letters.get_or_create(&of).inc_by(dead_letters);
        if let Some(delay) = delay_micros {
            self.delay.get_or_create(&of).set(seconds(delay.max(0)));
            self.told
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(of);
        }
    }

    pub(crate) fn lost(&self, source: &str, lane: &str, messages: u64) {
        self.lost.get_or_create(&Lane::of(source, lane)).inc_by(messages);
    }

    pub(crate) fn pending(&self, source: &str, lane: &str, messages: u64) {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        let of = Lane::of(source, lane);
        self.pending.get_or_create(&of).set(messages);
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(of);
    }

    /// What tells how a stream stands now that is not read any more; what was counted stays.
    pub(crate) fn forget(&self, source: &str) {
        self.up.remove(&Source {
            source: source.to_owned(),
        });
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|lane| {
                let stays = lane.source != source;
                if !stays {
                    self.pending.remove(lane);
                    self.delay.remove(lane);
                }
                stays
            });
    }
}

impl Lane {
    fn of(source: &str, lane: &str) -> Self {
        Self {
            source: source.to_owned(),
            lane: lane.to_owned(),
        }
    }
}
