//! What every transport promises.

mod closing;
mod delivery;
mod driver;
mod lending;
mod threads;

use std::time::{Duration, Instant};

use arrowlane_memory::Pool;
use arrowlane_transport::Endpoint;
use parking_lot::Mutex;

pub use driver::{Got, Seen, by_kind, pump, readable, wait_greeted, wait_readable};

/// Two connected ends and a pool. The first end is the server's: it lends blocks of the pool, where it lends. The client's
/// greeting was read.
pub type Pair = (Box<dyn Endpoint>, Box<dyn Endpoint>, Pool);

/// A promise.
pub type Promise = fn(&dyn Fn() -> Pair);

/// Runs one promise. One at a time in a process: memory is counted for the whole process.
pub fn check(promise: Promise, make_pair: &dyn Fn() -> Pair) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    promise(make_pair);
    // A connection that was dropped may be given time to deliver what is under way, by a thread of its transport's.
    let deadline = Instant::now() + Duration::from_secs(60);
    let nothing = arrowlane_memory::counters::Counters::default();
    while arrowlane_memory::counters::snapshot() != nothing {
        assert!(Instant::now() < deadline, "memory was left behind: {:?}", arrowlane_memory::counters::snapshot());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes a test of each promise of every transport; give it a function that returns a [`Pair`].
///
/// Those that concern lent memory are not among them: see [`transport_suite!`](crate::transport_suite). Untagged and tagged
/// messages may overtake each other: where they do not, see [`ordered_suite!`](crate::ordered_suite).
#[macro_export]
macro_rules! delivery_suite {
    ($make_pair:expr) => {
        $crate::promise_tests!($make_pair;
            messages_arrive_whole_and_each_kind_in_order,
            large_messages_arrive_whole,
            bodies_arrive_whole_and_aligned_and_their_parts_are_let_go,
            both_directions_are_independent,
            the_descriptor_is_readable_exactly_when_there_is_something,
            a_budget_bounds_what_one_call_reads,
            a_small_budget_loses_no_wake_up,
            a_peer_that_does_not_read_loses_nothing_and_blocks_nobody,
            an_error_of_the_inbox_comes_back,
            the_end_is_seen_after_everything_was_delivered,
            the_end_is_seen_even_while_answers_are_owed,
            sending_to_a_peer_that_is_gone_is_an_error_and_no_signal,
            dropping_both_ends_frees_what_was_queued,
            ends_may_live_on_different_threads,
            an_end_may_move_between_threads,
        );
    };
}

/// Makes a test of each promise of a transport that lends memory: those of [`delivery_suite!`](crate::delivery_suite), and
/// what lending is.
#[macro_export]
macro_rules! transport_suite {
    ($make_pair:expr) => {
        $crate::delivery_suite!($make_pair);
        $crate::promise_tests!($make_pair;
            lent_bytes_are_read_where_they_lie,
            blocks_of_many_segments_can_be_lent_at_once,
            addresses_outside_what_was_lent_are_refused,
            a_retired_segment_is_acknowledged_and_its_number_used_again,
            a_segment_that_the_peer_never_knew_needs_no_acknowledgement,
            loans_outlive_retirement_and_connection,
        );
    };
}

/// Makes a test of what a transport promises beside that, whose untagged and tagged messages share one order.
#[macro_export]
macro_rules! ordered_suite {
    ($make_pair:expr) => {
        $crate::promise_tests!($make_pair; untagged_and_tagged_messages_keep_one_order,);
    };
}

/// A test for each promise that is named.
#[doc(hidden)]
#[macro_export]
macro_rules! promise_tests {
    ($make_pair:expr; $($promise:ident,)*) => {
        $(
            #[test]
            fn $promise() {
                $crate::transport::check($crate::transport::promises::$promise, &$make_pair);
            }
        )*
    };
}

/// The promises, one function each.
pub mod promises {
    pub use super::{closing::*, delivery::*, lending::*, threads::*};
}
