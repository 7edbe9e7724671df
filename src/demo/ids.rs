//! Ids, written without allocating: tens of millions are needed.

/// A short id.
pub(super) struct Id {
    bytes: [u8; 24],
    length: usize,
}

impl Id {
    fn new(prefix: u8) -> Self {
        let mut bytes = [0; 24];
        bytes[0] = prefix;
        Self { bytes, length: 1 }
    }

    /// Appends a number, padded with zeros to `width`.
    fn number(mut self, number: u32, base: u32, width: usize) -> Self {
        let mut digits = [b'0'; 10];
        let (mut rest, mut from) = (number, 10);
        while rest > 0 && from > 0 {
            from -= 1;
            let digit = (rest % base) as u8;
            digits[from] = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            rest /= base;
        }
        let digits = &digits[from.min(10 - width)..];
        self.bytes[self.length..self.length + digits.len()].copy_from_slice(digits);
        self.length += digits.len();
        self
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

/// `c0000001` for the first customer.
pub(super) fn customer(index: u32) -> Id {
    Id::new(b'c').number(index + 1, 10, 7)
}

/// `x0000001`: a customer that only an order knows.
pub(super) fn never_landed(index: u32) -> Id {
    Id::new(b'x').number(index + 1, 10, 7)
}

/// `0`: what some platforms write for nobody.
pub(super) fn zero() -> Id {
    Id::new(b'0')
}

/// `o0000001002`: the customer's number and the order's, so that no customer has to know another's orders.
pub(super) fn order(index: u32, number: u16) -> Id {
    Id::new(b'o').number(index + 1, 10, 7).number(u32::from(number), 10, 3)
}

/// `e0001k00f`: the customer's and the event's number in base 36.
pub(super) fn event(index: u32, number: u32) -> Id {
    Id::new(b'e').number(index, 36, 5).number(number, 36, 3)
}

/// `v0001k1`: a device of the customer's; the device 9 is a stranger's, whom nothing ever links.
pub(super) fn visitor(index: u32, device: u8) -> Id {
    Id::new(b'v').number(index, 36, 5).number(u32::from(device), 10, 1)
}

/// `p00001` for the first product.
pub(super) fn product(index: u32) -> Id {
    Id::new(b'p').number(index + 1, 10, 5)
}

/// `m001` for the first campaign.
pub(super) fn campaign(index: u16) -> Id {
    Id::new(b'm').number(u32::from(index) + 1, 10, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_padded_and_grow() {
        assert_eq!(customer(0).as_str(), "c0000001");
        assert_eq!(customer(12_345_677).as_str(), "c12345678");
        assert_eq!(order(0, 12).as_str(), "o0000001012");
        assert_eq!(event(35, 36).as_str(), "e0000z010");
        assert_eq!(visitor(0, 9).as_str(), "v000009");
    }
}
