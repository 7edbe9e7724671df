//! A walk over Thrift's compact protocol that reads nothing but lengths.
//!
//! The Parquet library reserves room for as many row groups as a footer claims, before it reads one: a claim of two
//! thousand million aborts the process, which no handler of panics catches. Every entry of a list takes a byte at
//! least, so a list longer than the bytes that follow is a lie.

/// Deeper nesting than any Parquet footer has.
const DEPTH: usize = 32;

/// `Some` if the bytes are one struct whose strings and lists fit into it.
pub(super) fn check(bytes: &[u8]) -> Option<()> {
    Walk { rest: bytes }.structure(DEPTH)
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.rest = self.rest.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn structure(&mut self, depth: usize) -> Option<()> {
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Some(());
            }
            if header >> 4 == 0 {
                self.varint()?;
            }
            match header & 0x0f {
                // A field that is true or false has no value of its own.
                1 | 2 => {}
                kind => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let header = self.byte()?;
                let count = if header >> 4 == 15 { self.varint()? } else { u64::from(header >> 4) };
                self.many(count, &[header & 0x0f], deeper)
            }
            11 => match self.varint()? {
                0 => Some(()),
                count => {
                    let kinds = self.byte()?;
                    self.many(count, &[kinds >> 4, kinds & 0x0f], deeper)
                }
            },
            12 => self.structure(deeper),
            13 => self.skip(16),
            _ => None,
        }
    }

    fn many(&mut self, count: u64, kinds: &[u8], depth: usize) -> Option<()> {
        if count > self.rest.len() as u64 {
            return None;
        }
        for _ in 0..count {
            for kind in kinds {
                self.value(*kind, depth)?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn lengths_that_lie_are_found() {
        // An empty struct; a struct with an i32 field; one with a list of three bytes.
        assert!(check(&[0]).is_some());
        assert!(check(&[0x15, 0x02, 0]).is_some());
        assert!(check(&[0x19, 0x33, 1, 2, 3, 0]).is_some());
        // A list that claims 2^31 structs; a string longer than the rest; nesting without an end.
        assert!(check(&[0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0]).is_none());
        assert!(check(&[0x18, 0x7f, b'a', 0]).is_none());
        assert!(check(&[0x1c; 200]).is_none());
        assert!(check(&[]).is_none());
    }
}
