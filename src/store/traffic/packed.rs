//! Bytes of an hour's minutes, or a day's hours: those in which something passed, each as its place and two numbers of as many bytes
//! as they take.

/// Received and sent, in bytes, by the place in an hour or a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packed(pub(super) Vec<(u8, u64, u64)>);

impl Packed {
    /// Reads one; what is torn ends it.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes.iter().copied();
        let mut found = Vec::new();
        while let Some(place) = rest.next() {
            let (Some(rx), Some(tx)) = (number(&mut rest), number(&mut rest)) else { break };
            found.push((place, rx, tx));
        }
        Self(found)
    }

    /// Writes it.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 7);
        for (place, rx, tx) in &self.0 {
            bytes.push(*place);
            put(&mut bytes, *rx);
            put(&mut bytes, *tx);
        }
        bytes
    }

    /// Adds to a place.
    pub(super) fn add(&mut self, place: u8, rx: u64, tx: u64) {
        match self.0.binary_search_by_key(&place, |(place, ..)| *place) {
            Ok(at) => {
                let (_, own_rx, own_tx) = &mut self.0[at];
                (*own_rx, *own_tx) = (own_rx.saturating_add(rx), own_tx.saturating_add(tx));
            }
            Err(at) => self.0.insert(at, (place, rx, tx)),
        }
    }

    /// Returns all of it together.
    pub(super) fn sum(&self) -> (u64, u64) {
        let add =
            |(rx, tx): (u64, u64), (_, r, t): &(u8, u64, u64)| (rx.saturating_add(*r), tx.saturating_add(*t));
        self.0.iter().fold((0, 0), add)
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec((0_u8..60, any::<u64>(), any::<u64>()), 0..80)) {
            let mut packed = Packed::default();
            for (place, rx, tx) in &values {
                packed.add(*place, *rx, *tx);
            }
            prop_assert_eq!(Packed::read(&packed.write()), packed);
        }

        #[test]
        fn what_is_torn_ends_and_nothing_else(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Packed::read(&bytes);
        }
    }
}
