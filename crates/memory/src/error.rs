//! What can go wrong with memory, with what to do about it.

use std::fmt;
use std::io;

/// The limit that refused memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The limit that the pool was made with.
    Pool,
    /// The number of segments that the pool may have.
    Segments,
    /// A memory limit of this process's control group, or of one around it.
    Cgroup,
    /// What the machine has available (`MemAvailable`).
    Available,
    /// The operating system or the allocator said no.
    System,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Pool => "the pool limit",
            Limit::Segments => "the largest number of segments of the pool",
            Limit::Cgroup => "the cgroup's memory limit",
            Limit::Available => "the machine's available memory",
            Limit::System => "the operating system",
        })
    }
}

/// Why memory could not be made, mapped or recycled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A limit stands in the way. Nothing was left allocated.
    #[error(
        "out of memory: {requested} bytes asked for, {limit} allowed by {which}; \
         return blocks, make the batches smaller, or raise that limit"
    )]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// What the limit would have allowed: bytes (for [`Limit::Segments`]: segments; for [`Limit::System`]: unknown, 0).
        limit: u64,
        /// The limit that refused.
        which: Limit,
    },
    /// A peer's file is not a memory segment that cannot change under its reader.
    #[error(
        "the file received is not a sealed memory segment: seals {missing:#x} are missing (has {found:#x}); \
         the sender must seal SHRINK, GROW, FUTURE_WRITE and SEAL before it shares the descriptor"
    )]
    NotSealed {
        /// The `F_SEAL_*` bits found; 0 where the file knows no seals.
        found: u32,
        /// The `F_SEAL_*` bits that are missing.
        missing: u32,
    },
    /// A peer's file is not plain shared memory, or part of it does not exist yet.
    #[error("the file received cannot be read safely: {why}; the sender must share a fully allocated memfd")]
    NotPlainMemory {
        /// What was found.
        why: &'static str,
    },
    /// A peer's segment has another size than announced, or one that cannot be mapped.
    #[error(
        "the segment is {found} bytes, {expected} were announced; both must be equal and a positive multiple of the page size"
    )]
    WrongSize {
        /// Bytes announced.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// This platform lacks what is needed.
    #[error("{what} is not supported on this platform; use the heap kind, or Linux")]
    Unsupported {
        /// What is missing.
        what: &'static str,
    },
    /// An argument makes no sense.
    #[error("{what} cannot be {value}")]
    Invalid {
        /// The argument.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A pool cannot be as small as that.
    #[error("memory cannot be {limit} bytes: give at least {least}, one page")]
    TooLittle {
        /// Bytes asked for.
        limit: u64,
        /// The least that is possible.
        least: u64,
    },
    /// The operating system refused.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl MemoryError {
    /// The stable code of this error, as it crosses to JavaScript.
    pub fn code(&self) -> &'static str {
        match self {
            MemoryError::OutOfMemory { .. } => "ERR_OUT_OF_MEMORY",
            MemoryError::NotSealed { .. } | MemoryError::NotPlainMemory { .. } | MemoryError::WrongSize { .. } => {
                "ERR_HOSTILE_SEGMENT"
            }
            MemoryError::Unsupported { .. } => "ERR_UNSUPPORTED",
            MemoryError::Invalid { .. } | MemoryError::TooLittle { .. } => "ERR_INVALID_ARGUMENT",
            MemoryError::Io { .. } => "ERR_IO",
        }
    }

    /// An [`MemoryError::Io`], or [`MemoryError::OutOfMemory`] where the system's answer means that.
    #[cfg(target_os = "linux")]
    pub(crate) fn system(what: &'static str, requested: u64, errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        if errno == Errno::NOMEM || errno == Errno::NOSPC {
            return MemoryError::OutOfMemory { requested, limit: 0, which: Limit::System };
        }
        MemoryError::Io { what, source: errno.into() }
    }
}

/// Why a pool gave no block at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    /// The pool may still grow: call [`Pool::grow`](crate::Pool::grow) on a thread that may block, then ask again.
    #[error("no room in the pool's segments; grow it on a thread that may block, then ask again")]
    NeedsGrowth,
    /// The pool may not grow and its free pages do not hold this length: wait for a return
    /// ([`Pool::set_on_return`](crate::Pool::set_on_return)), then ask again.
    #[error("the pool is full; wait until a block returns, then ask again")]
    Full,
    /// This pool can never hold that many bytes.
    #[error("{requested} bytes are more than the pool's limit of {limit}; raise the limit or make the batch smaller")]
    TooLarge {
        /// Bytes asked for.
        requested: u64,
        /// The pool's limit in bytes.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_happened_what_was_expected_and_what_to_do() {
        let error = MemoryError::OutOfMemory { requested: 100, limit: 10, which: Limit::Cgroup };
        let text = error.to_string();
        assert!(
            text.contains("100 bytes") && text.contains("10 allowed by the cgroup") && text.contains("raise"),
            "{text}"
        );
        assert_eq!(error.code(), "ERR_OUT_OF_MEMORY");
    }
}
