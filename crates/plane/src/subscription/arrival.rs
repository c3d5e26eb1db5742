//! What arrives from a publisher, before anybody holds a lease of it.

use std::sync::Arc;

use arrowlane_dissociated::{
    BatchHeader, BodyType, DataTag, DecodedSchema, Event as Received, Fields, KeyValues, Limits, ProtocolError,
    ReceivedBody, Receiver, ReceiverConfig,
};
use arrowlane_memory::Growing;
use arrowlane_transport::{Endpoint, Inbox, Loan, TransportError};
use bytes::Bytes;

use crate::{
    Body, Placed, PlaneError, copied,
    link::Link,
    topic::{Tags, read_greeting},
};

/// An event of the protocol with its addresses resolved.
pub(super) enum Arrived {
    /// With how bodies come.
    Connected(&'static str),
    Schema(DecodedSchema),
    Batch {
        sequence: u32,
        header: BatchHeader,
        metadata: KeyValues,
        body: Located,
        bytes: u64,
    },
    Dictionary {
        id: i64,
        delta: bool,
        header: BatchHeader,
        body: Located,
    },
    End,
    Error {
        code: String,
        message: String,
    },
    Alive,
    Notice(Fields),
}

pub(super) enum Located {
    Lent { loans: Vec<Option<Loan>>, addresses: Vec<u64> },
    Inline { bytes: Bytes, spans: Vec<(usize, usize)> },
}

impl Located {
    /// Bytes of it that lie in memory of this process.
    pub(super) fn inline_bytes(&self) -> u64 {
        match self {
            Self::Lent { .. } => 0,
            Self::Inline { bytes, .. } => bytes.len() as u64,
        }
    }

    pub(super) fn into_body(self, link: &Arc<Link>) -> (Arc<Body>, Vec<Placed>) {
        match self {
            Self::Lent { loans, addresses } => Body::of_loans(link, loans, addresses),
            Self::Inline { bytes, spans } => Body::of_bytes(bytes, &spans),
        }
    }
}

pub(super) fn resolve(
    endpoint: &dyn Endpoint,
    receiver: &mut Receiver,
    event: Received,
) -> Result<Arrived, PlaneError> {
    Ok(match event {
        Received::Schema(schema, _) => Arrived::Schema(schema),
        Received::Batch { serial, header, metadata, body } => {
            let bytes = body.bytes();
            let body = locate(endpoint, &header, body)?;
            Arrived::Batch { sequence: serial.0, header, metadata, body, bytes }
        }
        Received::Dictionary { id, delta, header, body } => {
            receiver.consumed(body.bytes().max(1));
            let body = locate(endpoint, &header, body)?;
            Arrived::Dictionary { id, delta, header, body }
        }
        Received::End => Arrived::End,
        Received::Error { code, message } => Arrived::Error { code, message },
        Received::Heartbeat => Arrived::Alive,
        Received::Notice(fields) => Arrived::Notice(fields),
    })
}

fn locate(endpoint: &dyn Endpoint, header: &BatchHeader, body: ReceivedBody) -> Result<Located, PlaneError> {
    let spans = body.spans(header)?;
    Ok(match body {
        ReceivedBody::Pairs { pairs, .. } => {
            let addresses = pairs.iter().filter(|p| p.length > 0).map(|p| p.address).collect();
            let loan = |span: &Option<(u64, u64)>| match span {
                Some((address, length)) if *length > 0 => endpoint.resolve(*address, *length).map(Some),
                _ => Ok(None),
            };
            Located::Lent { loans: spans.iter().map(loan).collect::<Result<_, _>>()?, addresses }
        }
        ReceivedBody::Packed(bytes) => {
            if endpoint.lends() {
                // Between processes of one machine it could have been lent.
                copied::count(bytes.len() as u64);
            }
            let spans = spans.iter().map(|s| s.map_or((0, 0), |(o, l)| (o as usize, l as usize))).collect();
            Located::Inline { bytes, spans }
        }
        ReceivedBody::None => Located::Inline { bytes: Bytes::new(), spans: vec![(0, 0); header.buffers.len()] },
    })
}

fn aligned(body: &[u8]) -> Result<Bytes, TransportError> {
    let mut growing = Growing::new(body.len());
    growing.append(body)?;
    Ok(growing.finish().map(Bytes::from_owner).unwrap_or_default())
}

pub(super) struct FromPublisher<'a> {
    pub receiver: &'a mut Option<Receiver>,
    pub wrong: Option<PlaneError>,
    pub greeted: Option<Tags>,
    /// What the connection is: its endpoint's scheme.
    pub scheme: &'static str,
}

impl FromPublisher<'_> {
    fn with(&mut self, feed: impl FnOnce(&mut Receiver) -> Result<(), ProtocolError>) -> Result<(), TransportError> {
        let Some(receiver) = self.receiver else {
            return Err(TransportError::Framing("the publisher did not greet first".into()));
        };
        feed(receiver).map_err(|error| self.failed(error.into()))
    }

    fn failed(&mut self, error: PlaneError) -> TransportError {
        self.wrong = Some(error);
        TransportError::Closed
    }
}

impl Inbox for FromPublisher<'_> {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        if self.receiver.is_some() {
            return Err(TransportError::Framing("the publisher greeted twice".into()));
        }
        let (_, tags) = read_greeting(uri, self.scheme).map_err(|error| self.failed(error))?;
        *self.receiver = Some(Receiver::new(ReceiverConfig {
            limits: Limits::default(),
            free_tag: tags.frees.then_some(tags.free_data),
            ext_tag: tags.extended.then_some(tags.want_data_ext),
            // What one socket brings is in order.
            unordered: !matches!(self.scheme, "shm" | "tcp" | "inproc" | "grpc"),
        }));
        self.greeted = Some(tags);
        Ok(())
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.with(|receiver| receiver.metadata(bytes))
    }

    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        // What is read in place later on has to lie where every type of column can be read.
        let bytes = match DataTag::decode(tag) {
            Ok((_, BodyType::Packed)) => aligned(body)?,
            _ => Bytes::copy_from_slice(body),
        };
        self.with(|receiver| receiver.tagged(tag, bytes))
    }

    fn body(&mut self, tag: u64, body: Bytes) -> Result<(), TransportError> {
        self.with(|receiver| receiver.tagged(tag, body))
    }

    fn retired(&mut self, _segment: u16) {}
}
