//! How long the application has held what arrived, and what was agreed on that.
//!
//! Nothing is done for a batch that is given back in the turn it came in, and no timer belongs to one: JavaScript asks
//! from time to time what is overdue, and is told when to ask again.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use arrowlane_plane::Body;
use napi_derive::napi;

use crate::{host::Tables, lane::NativeLane, policy::NativeSubscriptionOptions};

/// Looks are at least this part of the shortest term apart, so that many batches cost few looks.
const COARSE: u32 = 8;

/// What a subscription said of keeping its batches.
pub struct Terms {
    topic: String,
    warning: Option<Duration>,
    timeout: Option<Duration>,
    revoke: bool,
}

/// Whose a batch is, since when the application holds it, and what it was told of that.
#[derive(Clone, Copy)]
pub struct Held {
    owner: Option<u32>,
    /// `None` while it waits to be taken.
    since: Option<Instant>,
    told: Told,
}

/// What was said of a batch that was held for too long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Warning,
    Timeout,
}

/// A batch that other native code was given: it may hold it after JavaScript's handle has ended.
pub struct Exported {
    batch: u32,
    body: Weak<Body>,
    bytes: u64,
    sequence: Option<u32>,
    held: Held,
}

/// A batch that is held. The age is in milliseconds.
#[napi(object)]
pub struct NativeHeld {
    /// JavaScript's handle; absent where other native code alone holds it.
    pub batch: Option<u32>,
    pub topic: String,
    pub sequence: u32,
    pub bytes: f64,
    pub age: f64,
    /// Whether it is held for longer than the timeout; else longer than the warning says.
    pub timeout: bool,
    /// Whether it is to be revoked.
    pub revoke: bool,
}

#[napi(object)]
pub struct NativeOverdue {
    /// What is overdue and was not told of before.
    pub overdue: Vec<NativeHeld>,
    /// In so many milliseconds there may be more; absent: not before another batch is held.
    pub next: Option<f64>,
}

impl Held {
    /// A batch that was not taken yet. Without an owner it is nobody's lease: an import or a copy.
    pub fn new(owner: Option<u32>) -> Self {
        Self { owner, since: None, told: Told::Nothing }
    }

    fn age(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// What is to be said now, if anything.
    fn due(&mut self, terms: &Terms, now: Instant) -> Option<Told> {
        let age = self.age(now);
        let over = |limit: Option<Duration>| limit.is_some_and(|limit| age >= limit);
        let say = match () {
            () if over(terms.timeout) => Told::Timeout,
            () if over(terms.warning) => Told::Warning,
            () => Told::Nothing,
        };
        let news = say > self.told;
        self.told = self.told.max(say);
        news.then_some(say)
    }

    /// How long until the next thing to be said; `None` when everything was.
    fn next(&self, terms: &Terms, now: Instant) -> Option<Duration> {
        let warning = terms.warning.filter(|_| self.told < Told::Warning);
        let timeout = terms.timeout.filter(|_| self.told < Told::Timeout);
        let limit = warning.into_iter().chain(timeout).min()?;
        Some(limit.saturating_sub(self.age(now)))
    }
}

impl Terms {
    /// `None` where nothing is ever to be said.
    pub fn of(topic: &str, options: &NativeSubscriptionOptions) -> Option<Self> {
        let limit =
            |milliseconds: Option<f64>| milliseconds.map(|ms| Duration::from_secs_f64(ms.clamp(1.0, 1e12) / 1000.0));
        let (warning, timeout) = (limit(options.lease_warning), limit(options.lease_timeout));
        warning.or(timeout)?;
        Some(Self { topic: topic.to_owned(), warning, timeout, revoke: options.revoke })
    }

    fn shortest(&self) -> Option<Duration> {
        self.warning.into_iter().chain(self.timeout).min()
    }

    fn describe(&self, batch: Option<u32>, sequence: Option<u32>, bytes: u64, age: Duration, told: Told) -> NativeHeld {
        NativeHeld {
            batch,
            topic: self.topic.clone(),
            sequence: sequence.unwrap_or(0),
            bytes: bytes as f64,
            age: (age.as_secs_f64() * 1000.0).round(),
            timeout: told == Told::Timeout,
            revoke: told == Told::Timeout && self.revoke && batch.is_some(),
        }
    }
}

impl Tables {
    /// The application took a batch of a subscription's; `now` is read when it is first needed.
    pub fn hold(&mut self, batch: u32, owner: u32, now: &mut Option<Instant>) {
        // It may be gone already, and its number another's.
        if let Some(entry) = self.batches.get_mut(batch)
            && entry.held.owner == Some(owner)
        {
            entry.held.since = Some(*now.get_or_insert_with(Instant::now));
        }
    }

    /// Other native code was given a batch.
    pub fn exported(&mut self, batch: u32) {
        let Some(entry) = self.batches.get(batch) else { return };
        if entry.held.owner.is_none_or(|owner| !self.terms.contains_key(&owner)) {
            return;
        }
        if self.exports.len() == self.exports.capacity() {
            self.exports.retain(|export| export.body.strong_count() > 0);
        }
        // In the very callback that brought it, it was not noted as taken yet.
        let held = Held { since: Some(entry.held.since.unwrap_or_else(Instant::now)), ..entry.held };
        let (body, sequence) = (Arc::downgrade(&entry.batch.body), entry.batch.sequence);
        self.exports.push(Exported { batch, body, bytes: entry.batch.body.length() as u64, sequence, held });
    }

    /// A subscription ended: what it said is kept for as long as something of it is held.
    pub fn forget_terms(&mut self, subscription: u32) {
        let held = self.batches.iter().any(|(_, entry)| entry.held.owner == Some(subscription))
            || self.exports.iter().any(|export| export.held.owner == Some(subscription));
        if !held {
            self.terms.remove(&subscription);
        }
    }

    fn overdue(&mut self, now: Instant) -> NativeOverdue {
        let Self { batches, exports, terms, subscriptions, .. } = self;
        let (mut overdue, mut next, mut owners) = (Vec::new(), None::<Duration>, Vec::new());
        let mut wait = |duration: Option<Duration>| next = next.into_iter().chain(duration).min();
        for (handle, entry) in batches.iter_mut() {
            let Some(owner) = entry.held.owner else { continue };
            if owners.last() != Some(&owner) {
                owners.push(owner);
            }
            let Some(terms) = terms.get(&owner) else { continue };
            if let Some(told) = entry.held.due(terms, now) {
                let (bytes, age) = (entry.batch.body.length() as u64, entry.held.age(now));
                overdue.push(terms.describe(Some(handle), entry.batch.sequence, bytes, age, told));
            }
            wait(entry.held.next(terms, now));
        }
        // A batch that JavaScript holds as well is told of once, by its handle.
        exports.retain_mut(|export| {
            let Some(body) = export.body.upgrade() else { return false };
            match batches.get(export.batch).filter(|entry| Arc::ptr_eq(&entry.batch.body, &body)) {
                Some(entry) => export.held.told = entry.held.told,
                None => {
                    let Some(terms) = export.held.owner.and_then(|owner| terms.get(&owner)) else { return false };
                    if let Some(told) = export.held.due(terms, now) {
                        let age = export.held.age(now);
                        overdue.push(terms.describe(None, export.sequence, export.bytes, age, told));
                    }
                    let Some(more) = export.held.next(terms, now) else { return false };
                    wait(Some(more));
                }
            }
            owners.extend(export.held.owner);
            true
        });
        overdue.sort_by(|a, b| b.age.total_cmp(&a.age).then(a.sequence.cmp(&b.sequence)));
        owners.sort_unstable();
        terms.retain(|id, _| subscriptions.contains_key(id) || owners.binary_search(id).is_ok());
        let shortest = terms.values().filter_map(Terms::shortest).min().unwrap_or_default();
        let next = next.map(|next| next.max(shortest / COARSE).as_secs_f64() * 1000.0);
        NativeOverdue { overdue, next: next.map(|ms| ms.ceil().max(1.0)) }
    }
}

#[napi]
impl NativeLane {
    /// What is held for longer than was agreed, once each.
    #[napi]
    pub fn overdue(&self) -> NativeOverdue {
        self.host.tables.borrow_mut().overdue(Instant::now())
    }

    /// The batches of a subscription that JavaScript holds.
    #[napi]
    pub fn held(&self, subscription: u32) -> Vec<NativeHeld> {
        let (tables, now) = (self.host.tables.borrow(), Instant::now());
        let mine = tables.batches.iter().filter(|(_, entry)| entry.held.owner == Some(subscription));
        let describe = |(handle, entry): (u32, &crate::host::BatchEntry)| NativeHeld {
            batch: Some(handle),
            topic: String::new(),
            sequence: entry.batch.sequence.unwrap_or(0),
            bytes: entry.batch.body.length() as f64,
            age: (entry.held.age(now).as_secs_f64() * 1000.0).round(),
            timeout: false,
            revoke: true,
        };
        let mut held: Vec<_> = mine.map(describe).collect();
        held.sort_by_key(|held| held.sequence);
        held
    }
}
