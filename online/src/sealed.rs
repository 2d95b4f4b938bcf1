//! Numbers in a small file of ours: 8 bytes each, big-endian, and behind them their CRC-32C (4 bytes, big-endian).

pub(crate) fn to_bytes<const N: usize>(numbers: [u64; N]) -> Vec<u8> {
    let numbers = numbers.map(u64::to_be_bytes);
    let crc = crc32c::crc32c(numbers.as_flattened()).to_be_bytes();
    [numbers.as_flattened(), &crc].concat()
}

/// `None` where the bytes are anything else.
pub(crate) fn parse<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (numbers, crc) = bytes.split_last_chunk::<4>()?;
    let (numbers, []) = numbers.as_chunks::<8>() else {
        return None;
    };
    let is_whole = *crc == crc32c::crc32c(numbers.as_flattened()).to_be_bytes();
    let numbers: [[u8; 8]; N] = numbers.try_into().ok().filter(|_| is_whole)?;
    Some(numbers.map(u64::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_damage_is_seen() {
        let numbers = [7, 24, u64::MAX];
        let bytes = to_bytes(numbers);
        assert_eq!((bytes.len(), parse(&bytes)), (28, Some(numbers)));
        assert_eq!(parse::<2>(&bytes), None);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(parse::<3>(&flipped), None);
            assert_eq!(parse::<3>(&bytes[..at]), None);
        }
    }
}
