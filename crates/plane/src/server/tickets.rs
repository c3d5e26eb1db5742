//! Tickets: what clients show to be given data.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use arrowlane_transport::TransportError;

use super::{Dataset, Offer};
use crate::{PlaneError, Publisher};

/// So many tickets are kept at once; beyond that the oldest is worth nothing any more.
const MOST: usize = 1 << 16;
/// Digits of a ticket.
const LENGTH: usize = 32;

/// A ticket, and until when it is good.
#[derive(Debug, Clone)]
pub struct Minted {
    /// 128 random bits as 32 lower-case hexadecimal digits.
    pub ticket: String,
    /// How long it can be redeemed, as often as its holder likes.
    pub life: Duration,
}

/// Why a ticket buys nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none such: it was never minted here, or it expired, or what it stood for is gone.
    #[error("this ticket is unknown or has expired; ask the server for a new one")]
    Unknown,
    /// It was minted for somebody else.
    #[error("this ticket was minted for somebody else")]
    Stolen,
}

/// What a ticket or a name stands for.
#[derive(Clone)]
pub(super) enum Stands {
    /// This very content, whatever the name stands for later.
    Dataset(Arc<Dataset>),
    Topic(Weak<Publisher>),
}

impl Stands {
    pub(super) fn offer(&self) -> Option<Offer> {
        match self {
            Self::Dataset(dataset) => Some(Offer::Dataset(Arc::clone(dataset))),
            Self::Topic(publisher) => publisher.upgrade().filter(|p| !p.is_closed()).map(Offer::Topic),
        }
    }
}

pub(super) struct Tickets {
    life: Duration,
    minted: HashMap<String, Ticket>,
    number: u64,
}

struct Ticket {
    stands: Stands,
    holder: Option<String>,
    since: Instant,
    number: u64,
}

impl Tickets {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, minted: HashMap::new(), number: 0 }
    }

    pub(super) fn mint(&mut self, stands: Stands, holder: Option<&str>) -> Result<Minted, PlaneError> {
        let mut random = [0u8; LENGTH / 2];
        getrandom::fill(&mut random).map_err(|e| TransportError::io("getrandom", std::io::Error::other(e)))?;
        let mut ticket = String::with_capacity(LENGTH);
        for byte in random {
            let _ = write!(ticket, "{byte:02x}"); // writing to a String cannot fail
        }
        if self.minted.len() >= MOST {
            drop(self.purge());
        }
        if self.minted.len() >= MOST
            && let Some(oldest) = self.minted.iter().min_by_key(|(_, t)| t.number).map(|(ticket, _)| ticket.clone())
        {
            self.minted.remove(&oldest);
        }
        self.number += 1;
        let holder = holder.map(Into::into);
        self.minted.insert(ticket.clone(), Ticket { stands, holder, since: Instant::now(), number: self.number });
        Ok(Minted { ticket, life: self.life })
    }

    /// What a ticket stands for. `holder` is who shows it; `None` where that cannot be known, as at a data port.
    pub(super) fn redeem(&mut self, ticket: &[u8], holder: Option<Option<&str>>) -> Result<Stands, Refused> {
        let text = std::str::from_utf8(ticket).ok().filter(|text| text.len() == LENGTH).ok_or(Refused::Unknown)?;
        let found = self.minted.get(text).filter(|t| t.since.elapsed() < self.life).ok_or(Refused::Unknown)?;
        match holder {
            Some(holder) if holder != found.holder.as_deref() => Err(Refused::Stolen),
            _ => Ok(found.stands.clone()),
        }
    }

    /// What expired: to be let go of after this is unlocked.
    pub(super) fn purge(&mut self) -> Vec<Stands> {
        let life = self.life;
        self.minted.extract_if(|_, t| t.since.elapsed() >= life).map(|(_, t)| t.stands).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.minted.is_empty()
    }

    pub(super) fn clear(&mut self) -> Vec<Stands> {
        self.minted.drain().map(|(_, t)| t.stands).collect()
    }
}
