//! Views of aggregates by an index of the spine: one more pass over their sources, for all events that count for a
//! question.
//!
//! Events come in any order. What is kept of each is the group of its key, its place in the order and its inputs, those of
//! a batch by parts of the keys; once all are there each part is put by key, and the keys are answered several at once.

mod answers;
mod kept;
mod parts;
mod together;

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take;

use asof_core::order::RowOrder;
use asof_core::time::Timestamp;

use super::index::NONE;
use super::memory::Memory;
use super::metrics::JoinMetrics;
use super::pass::Asked;
use super::prune;
use super::questions::Questions;
use super::reading::{Reading, Seen};
use super::source::{Part, SourceFiles};
use crate::error::{OfflineError, Result};
use crate::heads::Stand;
use crate::inputs::ViewValues;
use crate::plan::{JoinRead, JoinSpec};
use crate::windows::Windows;
use crate::workers::Workers;

pub(crate) use answers::WindowAnswers;
use kept::Kept;
use parts::Parts;

/// What one pass over a source reads, and for which views of aggregates.
struct EventPass {
    reading: Reading,
    reads: Vec<EventRead>,
}

struct EventRead {
    /// Its number among the reads of the plan.
    number: usize,
    asked: Asked,
    windows: Arc<Windows>,
    parts: Parts,
    /// Where its keys, and the columns of its inputs, stand among the selected columns.
    keys: Range<usize>,
    inputs: Range<usize>,
}

/// The events of a batch that count for a question of one read.
struct FoundEvents {
    read: usize,
    events: Events,
    rows: u64,
    skipped: u64,
    repeated: u64,
}

/// Some events, by parts of the keys.
struct Events {
    /// Where each part begins, and the last one ends.
    starts: Vec<u32>,
    /// The groups of their keys.
    groups: Vec<u32>,
    orders: Vec<RowOrder>,
    /// Per input its values.
    inputs: Vec<ArrayRef>,
}

/// Answers the questions of the reads of views of aggregates; gives them with the numbers of the reads.
pub(super) async fn answer(
    spec: &Arc<JoinSpec>,
    questions: &[Arc<Questions>],
    memory: &mut Memory,
    metrics: &JoinMetrics,
) -> Result<Vec<(usize, WindowAnswers)>> {
    let timer = metrics.collect.timer();
    let reads = spec.reads.iter().zip(questions).enumerate();
    let mut kept: Vec<(usize, Kept)> = reads
        .filter_map(|(number, (read, questions))| {
            let windows = Windows::of(&read.bound.view, spec.as_corrected)?;
            Some((number, Kept::new(Arc::new(windows), Arc::clone(questions))))
        })
        .collect();
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = find(spec, passes(spec, &kept).await?, metrics);
    let mut bytes = 0;
    while let Some(found) = found.next().await? {
        let Some(read) = spec.reads.get(found.read) else {
            continue;
        };
        read.counts.add(found.rows, found.skipped, found.repeated);
        spec.told();
        metrics.events.add(found.events.groups.len());
        if let Some((_, kept)) = kept.iter_mut().find(|(number, _)| *number == found.read) {
            bytes += kept.push(found.events);
        }
        memory.hold(kept::EVENTS, bytes)?;
    }
    memory.settle(bytes)?;
    timer.done();
    let timer = metrics.windows.timer();
    let mut answers = Vec::with_capacity(kept.len());
    for (number, kept) in kept {
        answers.push((number, kept.answer(spec.engine.options.readers, memory).await?));
    }
    memory.release(bytes);
    timer.done();
    Ok(answers)
}

/// One pass a source, where a view of aggregates reads it.
async fn passes(spec: &JoinSpec, kept: &[(usize, Kept)]) -> Result<Vec<(SourceFiles, Arc<EventPass>)>> {
    let mut passes = Vec::new();
    for (source, joined) in spec.sources.iter().enumerate() {
        let of_source = |number: usize| spec.reads.get(number).filter(|read| read.source == source);
        let reads: Vec<(usize, &JoinRead, &Kept)> = kept
            .iter()
            .filter_map(|(number, kept)| Some((*number, of_source(*number)?, kept)))
            .collect();
        if !reads.is_empty() {
            let pass = EventPass::plan(spec, source, &reads).await?;
            passes.push((joined.files.clone(), Arc::new(pass)));
        }
    }
    Ok(passes)
}

/// Reads the events of all sources, several parts at once.
fn find(
    spec: &JoinSpec,
    passes: Vec<(SourceFiles, Arc<EventPass>)>,
    metrics: &JoinMetrics,
) -> Workers<FoundEvents> {
    let mut jobs = Vec::new();
    for (files, pass) in passes {
        let all = files.parts();
        let reads = pass.reads.iter().map(|read| &read.asked);
        let parts = prune::parts(&files, &pass.reading, reads, pass.after());
        metrics.row_groups.add(all.len());
        metrics.row_groups_pruned.add(all.len() - parts.len());
        let unread = files.rows(&all) - files.rows(&parts);
        for read in &pass.reads {
            if let Some(read) = spec.reads.get(read.number) {
                read.counts.leave(unread);
            }
        }
        jobs.extend(parts.into_iter().map(|part: Part| {
            let place = files.place(part.file);
            (place, (files.clone(), Arc::clone(&pass), part))
        }));
    }
    let (options, rows_read) = (spec.engine.options, metrics.rows_read.clone());
    Workers::start(options.readers, jobs, move |(files, pass, part), finds| {
        let rows_read = rows_read.clone();
        async move {
            let (number, place) = (part.file, files.place(part.file));
            let columns = pass.reading.columns().to_vec();
            let map = move |batch: &RecordBatch, rows: &_| {
                let stand = Stand {
                    place: &place,
                    file: number,
                    rows,
                };
                rows_read.add(batch.num_rows());
                pass.find(batch, stand)
            };
            files.read(part, &columns, options.batch_size, finds, map).await
        }
    })
}

impl EventPass {
    async fn plan(spec: &JoinSpec, source: usize, reads: &[(usize, &JoinRead, &Kept)]) -> Result<Self> {
        let lost = || OfflineError::Internal("a read has no source".into());
        let joined = spec.sources.get(source).ok_or_else(lost)?;
        let mut asked: Vec<(usize, Asked, &Kept)> = Vec::with_capacity(reads.len());
        for (number, read, kept) in reads {
            let read = Asked {
                bound: Arc::clone(&read.bound),
                places: read.places.clone(),
                questions: Arc::clone(kept.questions()),
            };
            asked.push((*number, read, kept));
        }
        let (_, first, _) = asked.first().cloned().ok_or_else(lost)?;
        let mut selected = Vec::with_capacity(asked.len());
        let snapshot = &joined.files.snapshot;
        let reading = Reading::plan(&spec.engine, &joined.columns, snapshot, &first, |wanted| {
            let mut select = |places: &[usize]| {
                let start = wanted.len();
                wanted.extend(places);
                start..wanted.len()
            };
            selected.extend(asked.into_iter().map(|(number, asked, kept)| EventRead {
                number,
                parts: kept.parts(),
                keys: select(&asked.places.keys),
                inputs: select(asked.places.values.places()),
                windows: Arc::clone(kept.windows()),
                asked,
            }));
        });
        Ok(Self {
            reading: reading.await?,
            reads: selected,
        })
    }

    /// The instant after which events count for some question, where there is one.
    fn after(&self) -> Option<Timestamp> {
        let mut earliest = Some(Timestamp::MAX);
        for read in &self.reads {
            if let Some((first, _)) = read.asked.questions.span() {
                earliest = earliest.zip(read.windows.after(first)).map(|(a, b)| a.min(b));
            }
        }
        earliest
    }

    fn find(&self, batch: &RecordBatch, stand: Stand<'_>) -> Result<Vec<FoundEvents>> {
        let seen = self.reading.see(batch, stand)?;
        self.reads.iter().map(|read| read.find(&seen)).collect()
    }
}

impl EventRead {
    fn find(&self, seen: &Seen<'_>) -> Result<FoundEvents> {
        let counted = seen.counted(&self.asked, self.keys.clone())?;
        let Seen {
            selected,
            heads,
            stand,
            ..
        } = seen;
        let questions = &self.asked.questions;
        let event_times = heads.event_times().values();
        let rows = (0_u32..).zip(counted.groups.iter().zip(event_times));
        let rows = rows
            .filter(|(row, (group, _))| **group != NONE && !heads.is_deleted(*row as usize))
            .map(|(row, (group, event_time))| (row, *group, *event_time));
        let reaches = |(row, question): &(u32, u32)| {
            let event_time = event_times.get(*row as usize).copied().unwrap_or(i64::MIN);
            // Tails only go forward: if the first question behind an event does not reach it, none does.
            let at = questions.time(*question as usize);
            self.windows.reach(Timestamp::from_micros(event_time), at)
        };
        let rows = questions.first_of_each(rows).into_iter().filter(reaches);
        let group = |row: u32| counted.groups.get(row as usize).copied().unwrap_or(NONE);
        let rows: Vec<(u32, u32)> = rows.map(|(row, _)| (row, group(row))).collect();
        let (rows, starts) = self.parts.arrange(&rows);
        let orders = rows
            .iter()
            .filter_map(|(row, _)| heads.order(*row as usize, selected, *stand));
        let (orders, groups) = (orders.collect(), rows.iter().map(|(_, group)| *group).collect());
        Ok(FoundEvents {
            read: self.number,
            events: Events {
                starts,
                groups,
                orders,
                inputs: self.inputs(seen, rows.iter().map(|(row, _)| *row).collect())?,
            },
            rows: counted.rows,
            skipped: counted.skipped,
            repeated: counted.repeated,
        })
    }

    /// The inputs of some rows. All are looked at: a value that is none of its type is an error, whoever asks.
    fn inputs(&self, seen: &Seen<'_>, rows: Vec<u32>) -> Result<Vec<ArrayRef>> {
        let values: &ViewValues = &self.asked.places.values;
        let arrays = values.read(seen.columns(self.inputs.clone()), &seen.selected, seen.stand)?;
        let rows = UInt32Array::from(rows);
        arrays.iter().map(|array| Ok(take(array, &rows, None)?)).collect()
    }
}

impl Events {
    /// Bytes that an event takes beside its inputs.
    const EACH: usize = size_of::<u32>() + size_of::<RowOrder>();

    /// Where the events of a part of the keys are.
    fn of_part(&self, part: usize) -> Range<usize> {
        match self.starts.get(part..part + 2) {
            Some([start, end]) => *start as usize..*end as usize,
            _ => 0..0,
        }
    }

    /// The place in the order of the first event.
    fn first(&self) -> Option<RowOrder> {
        self.orders.iter().min().copied()
    }

    /// Roughly how many bytes these hold.
    fn bytes(&self) -> usize {
        self.groups.len() * Self::EACH + size_of_val(self.starts.as_slice()) + self.input_bytes()
    }

    fn input_bytes(&self) -> usize {
        let inputs = self.inputs.iter().map(|array| array.get_array_memory_size());
        inputs.sum()
    }
}
