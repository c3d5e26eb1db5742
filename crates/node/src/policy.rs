//! Policies and figures, as JavaScript sees them.

use std::{sync::Arc, time::Duration};

use arrowlane_plane::{
    Figures, LeaseStatistics, Overflow, Permits, PlaneError, Policy, PublisherOptions, Queue, Request,
    SubscriberStatistics, SubscriptionOptions,
};
use napi_derive::napi;

use crate::{
    error::{Result, plane},
    lane::NativeLane,
};

/// What a publisher does with subscribers that do not keep up. Names of overflow policies were checked before.
#[napi(object)]
pub struct NativePublisherPolicy {
    pub overflow: String,
    /// Milliseconds; absent: never.
    pub evict_after: Option<f64>,
    pub permit_last: bool,
    pub permit_overflow: Vec<String>,
    pub permit_batches: f64,
    pub permit_bytes: f64,
}

#[napi(object)]
pub struct NativeSubscriptionOptions {
    pub wait: bool,
    pub reconnect: bool,
    pub strict_zero_copy: bool,
    pub last: bool,
    pub overflow: Option<String>,
    pub queue_batches: Option<f64>,
    pub queue_bytes: Option<f64>,
    /// Milliseconds; absent: never.
    pub lease_warning: Option<f64>,
    pub lease_timeout: Option<f64>,
    /// Whether a batch is revoked that is held for longer than the timeout.
    pub revoke: bool,
}

#[napi(object)]
pub struct NativePolicy {
    pub batches: f64,
    pub bytes: f64,
    pub overflow: String,
    pub last: bool,
}

/// One subscriber, as its publisher knows it. Times are milliseconds.
#[napi(object)]
pub struct NativeSubscriber {
    pub id: f64,
    pub pid: Option<u32>,
    pub policy: NativePolicy,
    pub standing: String,
    pub sent: f64,
    pub sent_bytes: f64,
    pub dropped: f64,
    pub waited: f64,
    pub waited_for: f64,
    pub in_flight: f64,
    pub queued: f64,
    pub leases: f64,
    pub bytes: f64,
    pub oldest: Option<f64>,
}

/// One batch that a subscriber holds or has not taken yet, as its publisher knows it. The age is in milliseconds.
#[napi(object)]
pub struct NativeLease {
    pub subscriber: f64,
    pub pid: Option<u32>,
    pub sequence: u32,
    pub bytes: f64,
    pub age: f64,
}

#[napi(object)]
pub struct NativeSubscriptionStatistics {
    pub policy: Option<NativePolicy>,
    pub dropped: f64,
    pub reconnects: f64,
    pub leases: f64,
    pub bytes: f64,
}

/// A subscription's figures, which may be read after its end.
#[napi]
pub struct NativeFigures {
    figures: Arc<Figures>,
}

#[napi]
impl NativeFigures {
    #[napi]
    pub fn read(&self) -> NativeSubscriptionStatistics {
        let figures = self.figures.read();
        NativeSubscriptionStatistics {
            policy: figures.policy.map(native_policy),
            dropped: figures.dropped as f64,
            reconnects: figures.reconnects as f64,
            leases: figures.leases as f64,
            bytes: figures.bytes as f64,
        }
    }
}

impl NativePublisherPolicy {
    pub fn into_options(self) -> PublisherOptions {
        let queue = Queue { batches: self.permit_batches as usize, bytes: self.permit_bytes as u64 };
        let overflow = self.permit_overflow.iter().filter_map(|name| Overflow::named(name)).collect();
        PublisherOptions {
            overflow: Overflow::named(&self.overflow).unwrap_or_default(),
            permits: Permits { queue, overflow, last: self.permit_last },
            evict_after: self.evict_after.map(|after| Duration::from_secs_f64(after.clamp(1.0, 1e12) / 1000.0)),
            ..PublisherOptions::default()
        }
    }
}

impl NativeSubscriptionOptions {
    pub fn into_options(self) -> SubscriptionOptions {
        let request = Request {
            batches: self.queue_batches.map(|batches| batches as u64),
            bytes: self.queue_bytes.map(|bytes| bytes as u64),
            overflow: self.overflow.as_deref().and_then(Overflow::named),
            last: self.last,
        };
        SubscriptionOptions { wait: self.wait, reconnect: self.reconnect, request, strict: self.strict_zero_copy }
    }
}

#[napi]
impl NativeLane {
    /// One entry for each subscriber that takes part, or that holds leases still.
    #[napi]
    pub fn subscriptions(&self, publisher: u32) -> Result<Vec<NativeSubscriber>> {
        Ok(self.publisher(publisher)?.subscriptions().into_iter().map(native_subscriber).collect())
    }

    /// One entry for each batch that a subscriber holds or has not taken yet.
    #[napi]
    pub fn leases(&self, publisher: u32) -> Result<Vec<NativeLease>> {
        let lease = |lease: LeaseStatistics| NativeLease {
            subscriber: lease.subscriber as f64,
            pid: lease.pid,
            sequence: lease.sequence,
            bytes: lease.bytes as f64,
            age: milliseconds(lease.age),
        };
        Ok(self.publisher(publisher)?.leases().into_iter().map(lease).collect())
    }

    /// A subscription's figures, to be read at any time.
    #[napi]
    pub fn figures(&self, subscription: u32) -> Result<NativeFigures> {
        let subscription = self.subscription(subscription).ok_or_else(|| plane(PlaneError::Closed))?;
        Ok(NativeFigures { figures: Arc::clone(subscription.figures()) })
    }
}

fn native_policy(policy: Policy) -> NativePolicy {
    NativePolicy {
        batches: policy.queue.batches as f64,
        bytes: policy.queue.bytes as f64,
        overflow: policy.overflow.name().into(),
        last: policy.last,
    }
}

fn native_subscriber(subscriber: SubscriberStatistics) -> NativeSubscriber {
    NativeSubscriber {
        id: subscriber.id as f64,
        pid: subscriber.pid,
        policy: native_policy(subscriber.policy),
        standing: subscriber.standing.name().into(),
        sent: subscriber.sent as f64,
        sent_bytes: subscriber.sent_bytes as f64,
        dropped: subscriber.dropped as f64,
        waited: subscriber.waited as f64,
        waited_for: milliseconds(subscriber.waited_for),
        in_flight: subscriber.in_flight as f64,
        queued: subscriber.queued as f64,
        leases: subscriber.leases as f64,
        bytes: subscriber.bytes as f64,
        oldest: subscriber.oldest.map(milliseconds),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round()
}
