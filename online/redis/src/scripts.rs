//! What runs on the servers, where something must be decided and changed at once.
//!
//! Each script says in its first lines what it takes and returns. They touch no name that they are not given, so that a
//! cluster knows where to run them.

use std::sync::LazyLock;

/// One of the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Takes the store.
    Open,
    /// Goes on holding it.
    Renew,
    /// Gives it back.
    Release,
    /// Changes what is there once.
    Commit,
    /// Ends all doubt about commits.
    Seal,
    /// Writes rows of a key.
    Rows,
    /// Lets pending rows compete.
    Due,
    /// Changes the tiles of a key.
    Put,
    /// Makes the rows of a layer the generation's own.
    Fold,
    /// Makes the tiles of a layer the generation's own.
    Move,
    /// Reads tiles of several generations at one moment.
    Together,
    /// Removes rows that expired.
    Expire,
    /// Removes chunks that no window needs.
    Past,
}

impl Script {
    pub(crate) const ALL: [Self; 13] = [
        Self::Open,
        Self::Renew,
        Self::Release,
        Self::Commit,
        Self::Seal,
        Self::Rows,
        Self::Due,
        Self::Put,
        Self::Fold,
        Self::Move,
        Self::Together,
        Self::Expire,
        Self::Past,
    ];

    pub(crate) const fn source(self) -> &'static str {
        match self {
            Self::Open => include_str!("scripts/open.lua"),
            Self::Renew => include_str!("scripts/renew.lua"),
            Self::Release => include_str!("scripts/release.lua"),
            Self::Commit => include_str!("scripts/commit.lua"),
            Self::Seal => include_str!("scripts/seal.lua"),
            Self::Rows => concat!(
                include_str!("scripts/newest.lua"),
                include_str!("scripts/wait.lua"),
                include_str!("scripts/rows.lua")
            ),
            Self::Fold => concat!(
                include_str!("scripts/newest.lua"),
                include_str!("scripts/wait.lua"),
                include_str!("scripts/fold.lua")
            ),
            Self::Move => include_str!("scripts/move.lua"),
            Self::Together => include_str!("scripts/together.lua"),
            Self::Due => concat!(
                include_str!("scripts/newest.lua"),
                include_str!("scripts/due.lua")
            ),
            Self::Put => include_str!("scripts/put.lua"),
            Self::Expire => include_str!("scripts/expire.lua"),
            Self::Past => include_str!("scripts/past.lua"),
        }
    }

    /// What the servers know it by.
    pub(crate) fn hash(self) -> &'static str {
        static HASHES: LazyLock<[String; Script::ALL.len()]> = LazyLock::new(|| {
            Script::ALL.map(|script| redis::Script::new(script.source()).get_hash().to_owned())
        });
        let hashes = Self::ALL.iter().zip(HASHES.iter());
        let mut hashes = hashes.filter(|(script, _)| **script == self);
        hashes.next().map_or("", |(_, hash)| hash)
    }
}
