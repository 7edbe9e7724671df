//! Sets of customers as plain bits, and as compressed bitmaps.

use roaring::RoaringBitmap;

/// Customers of one container of a compressed bitmap, as a power of two.
pub(super) const CONTAINER_BITS: u32 = 16;

/// Members of a container that is still a list of them.
const LIST: u64 = 4096;

/// The set of the bits that are set, the lowest of each byte first; the first of all is `first`.
pub(super) fn set_of(first: u32, bits: &[u8]) -> RoaringBitmap {
    let set = RoaringBitmap::from_lsb0_bytes(first, bits);
    let (Some(low), Some(high)) = (set.min(), set.max()) else { return set };
    // A container of just as many members as a list may have comes as bits, and bits of so many are read as a list when the set
    // was written (roaring 0.11.5).
    let is_full_list = |container: u32| {
        let first = container << CONTAINER_BITS;
        set.range_cardinality(first..=first | ((1 << CONTAINER_BITS) - 1)) == LIST
    };
    if !(low >> CONTAINER_BITS..=high >> CONTAINER_BITS).any(is_full_list) {
        return set;
    }
    // The members come in their order, so that none is refused.
    RoaringBitmap::from_sorted_iter(set.iter()).unwrap_or(set)
}

/// Sets a customer's bit.
pub(super) fn set(bits: &mut Vec<u8>, customer: u32) {
    let (place, bit) = (customer as usize / 8, 1 << (customer % 8));
    if place >= bits.len() {
        // By half again, so that growing costs a constant a customer.
        bits.resize((place + 1).max(bits.len() + bits.len() / 2), 0);
    }
    if let Some(byte) = bits.get_mut(place) {
        *byte |= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_bits_survive_being_written() {
        for members in [0, 1, 4_095, 4_096, 4_097, 65_536] {
            for (first, apart) in [(0, 1), (65_536 * 3, 16), (65_530, 2), (123_456, 3)] {
                let mut bits = Vec::new();
                (0..members).for_each(|member| set(&mut bits, member * apart));
                let expected: RoaringBitmap = (0..members).map(|member| first + member * apart).collect();
                let found = set_of(first, &bits);
                assert_eq!(found, expected, "{members} from {first}");
                let mut bytes = Vec::new();
                found.serialize_into(&mut bytes).unwrap();
                assert_eq!(RoaringBitmap::deserialize_from(bytes.as_slice()).unwrap(), expected);
            }
        }
    }
}
