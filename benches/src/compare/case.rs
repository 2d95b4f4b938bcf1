//! The cases, and what is wanted of them.

use clap::ValueEnum;

/// A case that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// One view for the whole spine, also beside the floor.
    OneView,
    /// Three views, each over a source of its own.
    ThreeViews,
    /// One view for a hundredth of the spine's rows, spread evenly.
    Spread,
    /// One view for a hundredth of the spine's rows, which ask for few keys; also from a managed table.
    FewKeys,
    /// One view for a hundredth of the spine's rows, of one day; also from a managed table.
    OneDay,
    /// One, two, four and eight times the feature rows.
    Growth,
    /// Keys of text, and keys of text and a number.
    KeyTypes,
    /// Three aggregates over three windows each, of few keys and of many.
    Windows,
}

impl Case {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::OneView,
        Self::ThreeViews,
        Self::Spread,
        Self::FewKeys,
        Self::OneDay,
        Self::Growth,
        Self::KeyTypes,
        Self::Windows,
    ];
}

/// What is wanted of the time, as a ratio to the faster of the peers.
pub(super) mod wanted {
    pub(crate) const MANY_ROWS: f64 = 0.45;
    pub(crate) const SPREAD: f64 = 0.35;
    pub(crate) const NARROW: f64 = 0.2;
    pub(crate) const MANAGED: f64 = 0.06;
    /// To decoding the needed columns and encoding the dataset.
    pub(crate) const FLOOR: f64 = 1.35;
    /// To the same with int64 keys.
    pub(crate) const KEY_TYPES: f64 = 1.5;
    pub(crate) const WINDOWS: f64 = 0.25;
    /// To the most memory of the leaner of the peers.
    pub(crate) const MEMORY: f64 = 1.0;
}
