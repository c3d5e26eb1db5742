//! Batches that one environment hands to others of its process.
//!
//! # Design
//! A *token* is a random number that stands for a batch in one registry of the process. It holds one reference of its own,
//! from [`Sharer::share`] until the first of: it is [`open`]ed, it is [`revoke`]d, its time is up, its sharer is dropped.
//! After that it opens as long as somebody holds the batch, and no longer. So whoever shares may dispose at once, and a
//! token that nobody opens keeps nothing for ever.
//!
//! Nothing is dropped while the registry is locked: the end of a lease writes to a socket.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::Batch;

/// How the handle that was shared shows its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The first row, and the one behind the last.
    pub rows: [usize; 2],
    /// Indices of columns; `None` for all of them.
    pub columns: Option<Vec<u32>>,
    /// Whether silent copies are refused.
    pub strict: bool,
}

/// Tokens that hold no reference any more and whose batch is gone are looked for when there are this many tokens.
const FIRST_SWEEP: usize = 64;
/// For tokens without a deadline of their own.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Registry {
    tokens: HashMap<u128, Token>,
    /// Of every sharer, the tokens that hold a reference, by the end of their time.
    waiting: BTreeMap<u64, BTreeSet<(Instant, u128)>>,
    sweep_at: usize,
}

struct Token {
    reference: Option<Reference>,
    batch: Weak<Batch>,
    view: View,
}

struct Reference {
    batch: Arc<Batch>,
    sharer: u64,
    deadline: Instant,
}

impl Registry {
    /// Takes a token's own reference from it.
    fn take(&mut self, id: u128) -> Option<Arc<Batch>> {
        let Reference { batch, sharer, deadline } = self.tokens.get_mut(&id)?.reference.take()?;
        if let Some(waiting) = self.waiting.get_mut(&sharer) {
            waiting.remove(&(deadline, id));
        }
        Some(batch)
    }

    /// Forgets tokens that can never be opened again. Their number at most doubles between two such looks.
    fn sweep(&mut self) {
        if self.tokens.len() < self.sweep_at.max(FIRST_SWEEP) {
            return;
        }
        self.tokens.retain(|_, token| token.reference.is_some() || token.batch.strong_count() > 0);
        self.sweep_at = 2 * self.tokens.len();
    }
}

/// One environment's side of sharing. Dropping it takes back what it shared and nobody has opened.
pub struct Sharer {
    id: u64,
}

impl Default for Sharer {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Sharer {
    /// Has the token `id`, a number that nobody can guess and that was never used, stand for a batch, with a reference of
    /// its own for at most `timeout`. Returns how long until [`expire`](Self::expire) has something to do.
    pub fn share(&self, id: u128, batch: Arc<Batch>, view: View, timeout: Duration) -> Duration {
        let now = Instant::now();
        let deadline = now + timeout.min(FOR_EVER);
        let reference = Reference { batch, sharer: self.id, deadline };
        let token = Token { batch: Arc::downgrade(&reference.batch), reference: Some(reference), view };
        let mut registry = REGISTRY.lock();
        registry.sweep();
        registry.tokens.insert(id, token);
        let waiting = registry.waiting.entry(self.id).or_default();
        waiting.insert((deadline, id));
        waiting.first().map_or(timeout, |(first, _)| first.saturating_duration_since(now))
    }

    /// Takes their reference from the tokens of this sharer whose time is up. Returns how long until that is to be done
    /// again; `None` when no token of this sharer holds one.
    pub fn expire(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut ended = Vec::new();
        let mut registry = REGISTRY.lock();
        let next = loop {
            let Some(&(deadline, id)) = registry.waiting.get(&self.id).and_then(BTreeSet::first) else { break None };
            if deadline > now {
                break Some(deadline - now);
            }
            ended.extend(registry.take(id));
        };
        drop(registry);
        drop(ended);
        next
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        let mut registry = REGISTRY.lock();
        let waiting = registry.waiting.remove(&self.id).unwrap_or_default();
        let ended: Vec<_> = waiting.into_iter().filter_map(|(_, id)| registry.take(id)).collect();
        drop(registry);
        drop(ended);
    }
}

/// The batch that a token stands for, and how to show it: with the token's own reference where it still holds that,
/// else where somebody in this process holds the batch. `None` when its lease has ended, or there never was such a token.
pub fn open(id: u128) -> Option<(Arc<Batch>, View)> {
    let mut registry = REGISTRY.lock();
    let own = registry.take(id);
    let token = registry.tokens.get(&id)?;
    match own.or_else(|| token.batch.upgrade()) {
        Some(batch) => Some((batch, token.view.clone())),
        None => {
            registry.tokens.remove(&id);
            None
        }
    }
}

/// Takes its reference from a token. `false` when it had none any more.
pub fn revoke(id: u128) -> bool {
    let own = REGISTRY.lock().take(id);
    own.is_some()
}

/// How many tokens hold a reference, in the whole process.
pub fn unopened() -> usize {
    REGISTRY.lock().waiting.values().map(BTreeSet::len).sum()
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int32Array, RecordBatch};

    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    fn batch() -> Arc<Batch> {
        let values: arrow_array::ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let arrow = RecordBatch::try_from_iter([("i", values)]).expect("a batch");
        Arc::new(Batch::from_arrow(&arrow, Vec::new()).expect("a batch"))
    }

    fn view() -> View {
        View { rows: [1, 3], columns: Some(vec![0]), strict: true }
    }

    fn id() -> u128 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        u128::from(NEXT.fetch_add(1, Ordering::Relaxed)) << 64
    }

    #[test]
    fn a_token_keeps_its_batch_until_it_is_opened_and_opens_while_somebody_holds_it() {
        let (sharer, batch, id) = (Sharer::default(), batch(), id());
        let body = Arc::downgrade(&batch.body);
        sharer.share(id, batch, view(), LONG);
        let (first, shown) = open(id).expect("the token's own reference");
        assert_eq!(shown, view());
        let (second, _) = open(id).expect("somebody holds it");
        assert!(Arc::ptr_eq(&first, &second));
        drop(first);
        assert!(open(id).is_some());
        drop(second);
        assert_eq!(body.strong_count(), 0);
        assert!(open(id).is_none());
    }

    #[test]
    fn a_revoked_token_gives_its_reference_back_once() {
        let (sharer, batch, id) = (Sharer::default(), batch(), id());
        let body = Arc::downgrade(&batch.body);
        sharer.share(id, batch, view(), LONG);
        assert!(revoke(id));
        assert_eq!(body.strong_count(), 0);
        assert!(!revoke(id));
        assert!(open(id).is_none());
    }

    #[test]
    fn only_what_is_due_expires_and_the_rest_says_when() {
        let sharer = Sharer::default();
        assert_eq!(sharer.expire(), None);
        let (due, later) = (id(), id());
        assert!(sharer.share(later, batch(), view(), LONG) > LONG / 2);
        assert_eq!(sharer.share(due, batch(), view(), Duration::ZERO), Duration::ZERO);
        assert!(sharer.expire().is_some_and(|next| next > LONG / 2));
        assert!(open(due).is_none());
        assert!(open(later).is_some());
        assert_eq!(sharer.expire(), None);
    }

    #[test]
    fn a_sharers_end_takes_back_what_nobody_opened_and_nothing_else() {
        let (sharer, other) = (Sharer::default(), Sharer::default());
        let [opened, unopened, others] = [id(), id(), id()];
        sharer.share(opened, batch(), view(), LONG);
        sharer.share(unopened, batch(), view(), LONG);
        other.share(others, batch(), view(), LONG);
        let (held, _) = open(opened).expect("opened");
        drop(sharer);
        assert!(open(unopened).is_none());
        assert!(open(opened).is_some_and(|(again, _)| Arc::ptr_eq(&again, &held)));
        assert!(open(others).is_some());
    }

    #[test]
    fn tokens_that_can_never_be_opened_again_are_forgotten() {
        let sharer = Sharer::default();
        for _ in 0..1000 {
            let id = id();
            sharer.share(id, batch(), view(), LONG);
            drop(open(id));
        }
        let known = REGISTRY.lock().tokens.len();
        assert!(known <= 4 * FIRST_SWEEP, "{known} tokens are known");
    }
}
