//! How large an HTTP head may be.

use std::mem::MaybeUninit;

use httparse::Header;

/// Headers that are read without memory of their own.
const FEW: usize = 100;

/// How large a head may be, a request's or a response's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, up to the empty line and with it; of a response those of the interim ones before it count, too.
    pub size: usize,
    /// Headers.
    pub headers: usize,
}

impl Default for HeadLimits {
    /// What fits every head that is meant well: browsers send 2 KiB, and cookies may have 4 KiB each.
    fn default() -> Self {
        HeadLimits {
            size: 16 * 1024,
            headers: FEW,
        }
    }
}

impl HeadLimits {
    /// Places for the headers in `length` bytes of a head: one more than the limit is not to be read.
    pub(super) fn places<'h, 'b>(
        self,
        length: usize,
        few: &'h mut FewHeaders<'b>,
        many: &'h mut Vec<MaybeUninit<Header<'b>>>,
    ) -> &'h mut [MaybeUninit<Header<'b>>] {
        // None is shorter than a letter, a colon and the end of the line; one may have begun.
        let count = self.headers.min(length / 3 + 2);
        match few.0.get_mut(..count) {
            Some(places) => places,
            None => {
                many.resize_with(count, MaybeUninit::uninit);
                many
            }
        }
    }
}

/// Places for the headers of nearly every head.
pub(super) struct FewHeaders<'b>([MaybeUninit<Header<'b>>; FEW]);

impl FewHeaders<'_> {
    pub(super) fn new() -> Self {
        FewHeaders([const { MaybeUninit::uninit() }; FEW])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_places_for_all_headers_that_fit_and_no_more() {
        let places = |headers: usize, length: usize| {
            let limits = HeadLimits {
                headers,
                ..HeadLimits::default()
            };
            let (mut few, mut many) = (FewHeaders::new(), Vec::new());
            let count = limits.places(length, &mut few, &mut many).len();
            (count, many.len())
        };
        assert_eq!(places(100, 10_000), (100, 0));
        assert_eq!(places(100, 0), (2, 0));
        assert_eq!(places(5, 10_000), (5, 0));
        assert_eq!(places(101, 10_000), (101, 101));
        assert_eq!(places(usize::MAX, 3_000), (1_002, 1_002));
        assert_eq!(places(usize::MAX, 10), (5, 0));
    }
}
