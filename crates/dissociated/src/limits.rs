//! What a peer may make us hold.

/// The most that one connection may ask of this process; exceeding any is an error on that connection.
///
/// The defaults suit trusted local peers with wide schemas. Lengths are bytes.
///
/// ```
/// use arrowlane_dissociated::Limits;
/// let strict = Limits { max_fields: 100, ..Limits::default() };
/// assert!(strict.max_metadata > 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one metadata message.
    pub max_metadata: usize,
    /// Pairs of one type-1 body; also the buffers of one header.
    pub max_pairs: usize,
    /// Bytes of one body, and of each buffer in it.
    pub max_body: u64,
    /// Bytes of one body once it is decompressed.
    pub max_decompressed: u64,
    /// Messages that may have arrived in part or whole and not been taken with `next`.
    pub max_pending_messages: u32,
    /// Bytes of packed bodies that may have arrived and not been taken with `next`.
    pub max_pending_bytes: u64,
    /// Bytes that the headers and addresses of messages take that have arrived and not been taken with `next`.
    pub max_pending_metadata: u64,
    /// Fields of a schema, nested ones counted; also the nodes of a header.
    pub max_fields: usize,
    /// Levels of nesting of a field.
    pub max_nesting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_metadata: 16 << 20,
            max_pairs: 1 << 18,
            max_body: 1 << 40,
            max_decompressed: 4 << 30,
            max_pending_messages: 16_384,
            max_pending_bytes: 4 << 30,
            max_pending_metadata: 256 << 20,
            max_fields: 1 << 16,
            max_nesting: 64,
        }
    }
}

impl Limits {
    pub(crate) fn check(what: &'static str, value: u64, limit: u64) -> Result<(), crate::ProtocolError> {
        if value > limit {
            return Err(crate::ProtocolError::Limit { what, value, limit });
        }
        Ok(())
    }
}
