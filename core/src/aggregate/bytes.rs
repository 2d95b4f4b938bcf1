//! Counts and plain bytes off the front of stored ones.

/// Bytes that are no partial aggregate of the kind that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored aggregate is damaged")]
pub struct Corrupt;

/// Appends a count in as many bytes as it needs: seven bits each, the least first, and a bit that says that more follow.
pub(super) fn put_count(mut count: u64, bytes: &mut Vec<u8>) {
    while count >= 0x80 {
        bytes.push(count as u8 | 0x80);
        count >>= 7;
    }
    bytes.push(count as u8);
}

pub(super) fn take_count(rest: &mut &[u8]) -> Result<u64, Corrupt> {
    let mut count = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(rest)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Corrupt);
        }
        count |= bits << shift;
        if byte < 0x80 {
            return Ok(count);
        }
    }
    Err(Corrupt)
}

pub(super) fn take_byte(rest: &mut &[u8]) -> Result<u8, Corrupt> {
    let [byte] = take::<1>(rest)?;
    Ok(byte)
}

pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Corrupt> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(Corrupt)?;
    *rest = tail;
    Ok(*head)
}

pub(super) fn take_slice<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Corrupt> {
    let len = usize::try_from(take_count(rest)?).map_err(|_| Corrupt)?;
    let (head, tail) = rest.split_at_checked(len).ok_or(Corrupt)?;
    *rest = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_round_trip() {
        for count in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_count(count, &mut bytes);
            let mut rest = bytes.as_slice();
            assert_eq!(take_count(&mut rest), Ok(count));
            assert!(rest.is_empty());
            bytes.pop();
            assert_eq!(take_count(&mut bytes.as_slice()), Err(Corrupt), "{count}");
        }
        assert_eq!(take_count(&mut [0xff; 11].as_slice()), Err(Corrupt));
    }
}
