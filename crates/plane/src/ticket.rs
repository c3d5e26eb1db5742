//! What a subscriber asks its publisher for.

use arrowlane_dissociated::{Fields, ProtocolError};

use crate::publisher::policy::{Overflow, Request};

/// A payload that begins so asks for something else than batches.
const CONTROL: u8 = 0;
/// Asks for the publisher's figures.
const STATISTICS: &[u8] = b"\0statistics";

/// The code of a ticket that buys nothing.
pub(crate) const BAD_TICKET: &str = "ERR_TICKET";

/// The longest ticket of a server, with what is asked for behind it, in bytes.
pub(crate) const TICKET_LIMIT: usize = 128 << 10;

/// What a server minted, and what is asked for with it.
pub(crate) fn of_server(payload: &[u8], extended: bool) -> Result<(&[u8], Ticket), ProtocolError> {
    let Some(nul) = payload.iter().position(|byte| *byte == 0) else {
        return Ok((payload, Ticket::Batches { request: None, keeps: false }));
    };
    if !extended {
        return Err(wrong("it has fields, which only the extension knows"));
    }
    Ok((&payload[..nul], Ticket::read(&payload[nul + 1..])?))
}

/// A subscriber's first message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// Batches of the topic.
    Batches {
        /// `None` of a client that knows of none, and of no notices either.
        request: Option<Request>,
        /// Whether it holds the keepers of what it is lent (`docs/wire.md`, "Keepers").
        keeps: bool,
    },
    /// The publisher's figures, and nothing else.
    Statistics,
}

impl Ticket {
    /// Reads a ticket for `topic`: the topic, and behind a NUL what is asked for. A client that did not declare the
    /// extension can ask for the topic alone.
    pub(crate) fn parse(payload: &[u8], topic: &str, extended: bool) -> Result<Self, ProtocolError> {
        if payload == topic.as_bytes() {
            return Ok(Self::Batches { request: None, keeps: false });
        }
        if !extended || payload.first().is_none_or(|first| *first == CONTROL && payload != STATISTICS) {
            return Err(wrong("it is not this topic"));
        }
        if payload == STATISTICS {
            return Ok(Self::Statistics);
        }
        let rest = payload.strip_prefix(topic.as_bytes()).and_then(|rest| rest.strip_prefix(&[0]));
        Self::read(rest.ok_or_else(|| wrong("it is not this topic"))?)
    }

    /// What is asked for, in fields.
    fn read(fields: &[u8]) -> Result<Self, ProtocolError> {
        let text = std::str::from_utf8(fields).map_err(|_| wrong("what it asks for is not UTF-8"))?;
        let fields = Fields::parse(text)?;
        let request = Some(Request::read(&fields)?);
        Ok(Self::Batches { request, keeps: is_set(&fields, "keep")? })
    }

    /// The ticket that asks for `topic` under `request`. `None` when something is asked for that a publisher without
    /// policies cannot give.
    pub(crate) fn batches(topic: &[u8], request: &Request, policies: bool) -> Option<Vec<u8>> {
        let mut ticket = topic.to_vec();
        if !policies {
            return (*request == Request::default()).then_some(ticket);
        }
        ticket.push(0);
        let mut fields = request.fields();
        fields.push("keep", 1);
        ticket.extend_from_slice(fields.as_str().as_bytes());
        Some(ticket)
    }

    /// The ticket that asks for figures.
    pub(crate) fn statistics() -> &'static [u8] {
        STATISTICS
    }
}

impl Request {
    fn read(fields: &Fields) -> Result<Self, ProtocolError> {
        let least_one = |name| match fields.number(name)? {
            Some(0) => Err(wrong("a queue of nothing")),
            other => Ok(other),
        };
        Ok(Self {
            batches: least_one("queue_batches")?,
            bytes: least_one("queue_bytes")?,
            overflow: match fields.get("overflow") {
                None => None,
                Some(name) => Some(Overflow::named(name).ok_or_else(|| wrong("an overflow that does not exist"))?),
            },
            last: is_set(fields, "last")?,
        })
    }

    fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        if let Some(batches) = self.batches {
            fields.push("queue_batches", batches);
        }
        if let Some(bytes) = self.bytes {
            fields.push("queue_bytes", bytes);
        }
        if let Some(overflow) = self.overflow {
            fields.push("overflow", overflow.name());
        }
        if self.last {
            fields.push("last", 1);
        }
        fields
    }
}

fn is_set(fields: &Fields, name: &str) -> Result<bool, ProtocolError> {
    match fields.get(name) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(wrong(&format!("{name} is neither 0 nor 1"))),
    }
}

fn wrong(detail: &str) -> ProtocolError {
    ProtocolError::Layout { what: "ticket", detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_as_it_was_written() {
        let all = Request { batches: Some(3), bytes: Some(1 << 40), overflow: Some(Overflow::DropOldest), last: true };
        for request in [Request::default(), all] {
            let ticket = Ticket::batches(b"a/b", &request, true).expect("a ticket");
            let read = Ticket::parse(&ticket, "a/b", true).expect("read");
            assert_eq!(read, Ticket::Batches { request: Some(request), keeps: true });
        }
        let simple = |request| Ticket::batches(b"a/b", &request, false);
        assert_eq!((simple(Request::default()), simple(all)), (Some(b"a/b".to_vec()), None));
        let plain = Ticket::Batches { request: None, keeps: false };
        assert_eq!(Ticket::parse(b"a", "a", false).expect("read"), plain);
        assert_eq!(Ticket::parse(b"\0statistics", "a", true).expect("read"), Ticket::Statistics);
        let unknown = Ticket::parse(b"a\0colour=red\0last=1", "a", true).expect("unknown names are passed over");
        let request = Some(Request { last: true, ..Request::default() });
        assert_eq!(unknown, Ticket::Batches { request, keeps: false });
    }

    #[test]
    fn hostile_tickets_are_refused() {
        let cases: [&[u8]; 17] = [
            b"",
            b"b",
            b"ab",
            b"\0",
            b"\0other",
            b"\0statistics=",
            b"a\0last",
            b"a\0last=2",
            b"a\0keep=yes",
            b"a\0overflow=explode",
            b"a\0queue_batches=0",
            b"a\0queue_bytes=0",
            b"a\0queue_batches=-1",
            b"a\0queue_batches=99999999999999999999",
            b"a\0queue_bytes=1e9",
            b"a\0last=1\0last=1",
            b"a\0\xff=1",
        ];
        for case in cases {
            assert!(Ticket::parse(case, "a", true).is_err(), "{case:?}");
        }
        assert!(Ticket::parse(b"a\0last=1", "a", false).is_err(), "a plain client asks for the topic alone");
        assert!(Ticket::parse(b"\0statistics", "a", false).is_err());
        let long = [b"a\0x=".as_slice(), &vec![b'x'; 100_000]].concat();
        assert!(Ticket::parse(&long, "a", true).is_err());
    }
}
