//! Whether RocksDB's MANIFEST, the list of its files, is whole.
//!
//! A record whose length was damaged so that it reaches behind the end of the file looks to RocksDB like the torn end
//! that a crash leaves: it is passed over in silence, and with it the files that it names. So the records that were
//! there when a write was acknowledged are checked here: blocks of 32 KiB, in which each record has a CRC-32C
//! (masked, of its kind and content), a length and a kind, as RocksDB's log format says.

/// Bytes of a block.
const BLOCK: usize = 32 << 10;
/// Bytes before the content of a record: the checksum, the length (2 bytes) and the kind, all little-endian.
const HEADER: usize = 7;
/// The kinds of a record that is a whole entry, and of one that begins an entry.
const FULL: u8 = 1;
const FIRST: u8 = 2;
/// What is added to a checksum that is stored, after its bits were turned by 15.
const MASK: u32 = 0xa282_ead8;

/// Where the first record begins that is not whole, of those that begin before `end`.
pub(crate) fn first_damage(list: &[u8], end: usize) -> Option<usize> {
    let mut records = records(list, end);
    records.find_map(|(at, length)| length.is_none().then_some(at))
}

/// Where entries begin, up to the first record that is not whole. An entry is one record, or several where it goes on in
/// the next block.
pub(crate) fn entries(list: &[u8]) -> Vec<usize> {
    let whole = records(list, list.len()).take_while(|(_, length)| length.is_some());
    let begins = |at: &usize| matches!(list.get(at + HEADER - 1), Some(&(FULL | FIRST)));
    whole.map(|(at, _)| at).filter(begins).collect()
}

/// The records that begin before `end`, up to the first that is not whole: where each begins, and its length where it is.
fn records(list: &[u8], end: usize) -> impl Iterator<Item = (usize, Option<usize>)> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let mut at = next?;
        let mut left = BLOCK - at % BLOCK;
        // Too little is left in a block for a record to begin.
        if left < HEADER {
            (at, left) = (at + left, BLOCK);
        }
        if at >= end {
            return None;
        }
        let length = whole_record(list.get(at..).unwrap_or_default(), left);
        next = length.map(|length| at + length);
        Some((at, length))
    })
}

/// The length of the record at the start of `bytes`, where it is whole and ends in its block.
fn whole_record(bytes: &[u8], left: usize) -> Option<usize> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (length, _) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_le_bytes(*length));
    // The checksum is of the kind and what follows.
    let checked = rest
        .get(2..HEADER - 4 + length)
        .filter(|_| HEADER + length <= left)?;
    let expected = crc32c::crc32c(checked).rotate_right(15).wrapping_add(MASK);
    (u32::from_le_bytes(*crc) == expected).then_some(HEADER + length)
}

#[cfg(test)]
mod tests {
    use rocksdb::{DB, Options};

    use super::*;

    #[test]
    fn every_flipped_bit_of_a_list_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.create_if_missing(true);
        for round in 0..3 {
            let db = DB::open(&options, directory.path()).unwrap();
            db.put([round], [round]).unwrap();
            db.flush().unwrap();
        }
        let files = std::fs::read_dir(directory.path()).unwrap();
        let mut lists = files.map(|file| file.unwrap().path());
        let list = lists.find(|path| path.to_string_lossy().contains("MANIFEST"));
        let mut list = std::fs::read(list.unwrap()).unwrap();
        let end = list.len();
        assert!(end > 200, "{end}");
        assert_eq!(first_damage(&list, end), None);
        for bit in 0..end * 8 {
            list[bit / 8] ^= 1 << (bit % 8);
            let seen = first_damage(&list, end);
            assert!(seen.is_some_and(|at| at <= bit / 8), "bit {bit}: {seen:?}");
            // What came after the mark is not looked at.
            assert_eq!(first_damage(&list, seen.unwrap_or(0)), None);
            list[bit / 8] ^= 1 << (bit % 8);
        }
        for cut in 1..end {
            assert!(first_damage(&list[..cut], end).is_some() || cut == end, "{cut}");
        }
    }
}
