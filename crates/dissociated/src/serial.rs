//! Sequence numbers that wrap.

use std::cmp::Ordering;

/// The number of a message in its stream: the schema is 0, each further message one more, wrapping at 2³².
///
/// Compared as in RFC 1982: `a < b` when `b` is less than 2³¹ steps ahead of `a`. Two numbers exactly 2³¹ apart have no
/// order (`partial_cmp` is `None`); a window far smaller than that never meets the case.
///
/// ```
/// use arrowlane_dissociated::Serial;
/// assert_eq!(Serial(u32::MAX).next(), Serial(0));
/// assert!(Serial(u32::MAX) < Serial(3));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Serial(pub u32);

impl Serial {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many steps lead from `earlier` to this number, wrapping.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl PartialOrd for Serial {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match other.since(*self) {
            0 => Some(Ordering::Equal),
            1..=0x7fff_ffff => Some(Ordering::Less),
            0x8000_0000 => None,
            _ => Some(Ordering::Greater),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_and_keep_their_order_across_the_wrap() {
        assert_eq!(Serial(u32::MAX).next(), Serial(0));
        assert!(Serial(u32::MAX) < Serial(0));
        assert!(Serial(5) > Serial(u32::MAX - 5));
        assert!(Serial(1) < Serial(2));
        assert_eq!(Serial(7).partial_cmp(&Serial(7)), Some(Ordering::Equal));
        assert_eq!(Serial(2).since(Serial(u32::MAX)), 3);
    }

    #[test]
    fn numbers_half_the_circle_apart_have_no_order() {
        assert_eq!(Serial(0).partial_cmp(&Serial(1 << 31)), None);
    }
}
