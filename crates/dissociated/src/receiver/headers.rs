//! Reading headers, of which many are the same.

use arrow_buffer::MutableBuffer;

use crate::header::decode_copied;
use crate::{BatchHeader, Header, KeyValues, Limits, Result};

/// A longer flatbuffer is not remembered.
const LONGEST: usize = 16 << 10;

/// Reads the flatbuffers of messages. Batches of one size have the same one, byte for byte; it is verified and read once.
#[derive(Debug)]
pub(super) struct Headers {
    /// The last batch's flatbuffer, and what it says.
    last: Option<(Vec<u8>, BatchHeader, KeyValues)>,
    scratch: MutableBuffer,
}

impl Default for Headers {
    fn default() -> Self {
        Self { last: None, scratch: MutableBuffer::new(0) }
    }
}

impl Headers {
    pub(super) fn decode(&mut self, flatbuffer: &[u8], limits: &Limits) -> Result<(Header, KeyValues)> {
        if let Some((known, header, pairs)) = &self.last
            && known == flatbuffer
        {
            return Ok((Header::Batch(header.clone()), pairs.clone()));
        }
        let decoded = decode_copied(flatbuffer, limits, &mut self.scratch)?;
        if let (Header::Batch(header), pairs) = &decoded
            && flatbuffer.len() <= LONGEST
        {
            let (mut known, ..) = self.last.take().unwrap_or_default();
            known.clear();
            known.extend_from_slice(flatbuffer);
            self.last = Some((known, header.clone(), pairs.clone()));
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FieldNode, Span, encode_batch};

    #[test]
    fn a_header_that_came_before_says_the_same_again_and_another_one_does_not() {
        let mut headers = Headers::default();
        let batch = |rows: u64| BatchHeader {
            rows,
            nodes: vec![FieldNode { length: rows, null_count: 0 }],
            buffers: vec![Span { offset: 0, length: 8 * rows }],
            variadic: Vec::new(),
            compression: None,
            body_length: 8 * rows,
        };
        let pairs = vec![("key".to_owned(), "value".to_owned())];
        for rows in [3, 3, 4, 3, 3] {
            let flatbuffer = encode_batch(&batch(rows), &pairs);
            let (header, metadata) = headers.decode(&flatbuffer, &Limits::default()).unwrap();
            assert!(matches!(header, Header::Batch(header) if header == batch(rows)));
            assert_eq!(metadata, pairs);
        }
        assert!(headers.decode(&[1, 2, 3], &Limits::default()).is_err());
    }
}
