//! The page: the unit in which the operating system maps memory and in which blocks are cut.

/// The size of a page in bytes: a power of two, fixed for the life of the process.
pub fn page_size() -> usize {
    #[cfg(unix)]
    {
        rustix::param::page_size()
    }
    #[cfg(not(unix))]
    {
        4096 // of Windows, on x64 and arm64
    }
}

/// How many whole pages hold `len` bytes; at least one, so that a block of no bytes has an address of its own.
pub(crate) fn pages_for(len: u64) -> u64 {
    len.div_ceil(page_size() as u64).max(1)
}

/// The number of bytes in `pages`, saturating: a sum that large is beyond every limit it is compared with.
pub(crate) fn bytes_in(pages: u64) -> u64 {
    pages.saturating_mul(page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_zero_takes_one_page_and_huge_lengths_do_not_overflow() {
        let page = page_size() as u64;
        assert_eq!(pages_for(0), 1);
        assert_eq!(pages_for(1), 1);
        assert_eq!(pages_for(page), 1);
        assert_eq!(pages_for(page + 1), 2);
        assert_eq!(bytes_in(pages_for(u64::MAX)), u64::MAX);
    }
}
