//! Messages out of the body of an HTTP request or response.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use tonic::Status;
use tonic::body::Body;

use super::incoming::within;
use super::{Decoder, Malformed, Message, MessageLimits, PREFIX};

/// Why there is no further message.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// What came is no message.
    Malformed(Malformed),
    /// The connection broke, or the stream was reset; with what gRPC makes of it.
    Broken(Status),
}

impl From<Malformed> for Stopped {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl Stopped {
    /// As a server tells its client.
    pub fn status(&self) -> Status {
        match self {
            Self::Malformed(error @ Malformed::TooLong { .. }) => Status::resource_exhausted(error.to_string()),
            Self::Malformed(error) => Status::invalid_argument(format!("no Flight message: {error}")),
            Self::Broken(status) => status.clone(),
        }
    }
}

/// The messages of one body, one after the other.
pub(crate) struct Messages {
    body: Body,
    decoder: Decoder,
    chunk: Bytes,
    trailers: Option<HeaderMap>,
}

impl Messages {
    pub fn new(body: Body, limits: MessageLimits) -> Self {
        Self { body, decoder: Decoder::new(limits), chunk: Bytes::new(), trailers: None }
    }

    /// The next message; `None` after the last. May be dropped unfinished and called again.
    pub async fn next(&mut self) -> Result<Option<Message>, Stopped> {
        loop {
            if let Some(message) = self.decoder.take(&mut self.chunk)? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                None if self.decoder.is_between_messages() => return Ok(None),
                None => return Err(Malformed::CutOff.into()),
                Some(Err(error)) => return Err(Stopped::Broken(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => self.chunk = chunk,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// What came behind the last message; `None` before it was read.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

/// The one message of a request that has one, of at most `limit` bytes; nothing beyond is read.
pub(crate) async fn unary(body: &mut Body, what: &'static str, limit: usize) -> Result<Vec<u8>, Stopped> {
    let mut bytes = Vec::new();
    let mut wanted = PREFIX;
    while bytes.len() < wanted {
        let frame = match body.frame().await {
            None => return Err(Malformed::CutOff.into()),
            Some(frame) => frame.map_err(Stopped::Broken)?,
        };
        let Ok(data) = frame.into_data() else { continue };
        let room = PREFIX + limit - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if let Some([compressed, length @ ..]) = bytes.first_chunk::<PREFIX>() {
            if *compressed != 0 {
                return Err(Malformed::Wire("a compressed message, which nobody offered to read").into());
            }
            wanted = PREFIX + within(what, u64::from(u32::from_be_bytes(*length)), limit)?;
        }
    }
    bytes.truncate(wanted);
    bytes.drain(..PREFIX);
    Ok(bytes)
}
