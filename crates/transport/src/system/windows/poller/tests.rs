use std::{
    net::{TcpListener, TcpStream},
    thread,
};

use rustix::fd::AsFd;

use super::*;

const SOON: Duration = Duration::from_millis(30);
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

fn ready(poller: &Poller, wait: Option<Duration>) -> Vec<u64> {
    let mut keys = Vec::new();
    poller.wait(wait, |key, _| keys.push(key)).expect("waited");
    keys
}

#[test]
fn a_set_in_a_set_tells_of_what_is_in_it_under_its_own_key() {
    let (outer, inner, alarm) = (Poller::new().unwrap(), Poller::new().unwrap(), Alarm::new().unwrap());
    inner.add(alarm.as_fd(), 1, Interest::Read).unwrap();
    outer.add(inner.descriptor(), 2, Interest::Read).unwrap();
    assert_eq!(ready(&outer, Some(Duration::ZERO)), []);
    alarm.ring();
    assert_eq!(ready(&outer, MINUTE), [2]);
    assert_eq!(ready(&inner, MINUTE), [1]);
    alarm.quiet();
    assert_eq!(ready(&outer, Some(SOON)), []);
    alarm.ring();
    outer.delete(inner.descriptor());
    assert_eq!(ready(&outer, Some(SOON)), []);
}

#[test]
fn whoever_sleeps_hears_of_what_is_added_meanwhile() {
    let (outer, inner, alarm) = (Poller::new().unwrap(), Poller::new().unwrap(), Alarm::new().unwrap());
    outer.add(inner.descriptor(), 2, Interest::Read).unwrap();
    alarm.ring();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| ready(&outer, MINUTE));
        thread::sleep(SOON);
        inner.add(alarm.as_fd(), 1, Interest::Read).unwrap();
        // Others look meanwhile, and take nothing away.
        assert_eq!(ready(&inner, Some(Duration::ZERO)), [1]);
        assert_eq!(sleeper.join().unwrap(), [2]);
    });
}

#[test]
fn a_timer_goes_off_when_it_is_time_and_until_it_is_told_that_it_did() {
    let (poller, timer) = (Poller::new().unwrap(), Timer::new().unwrap());
    poller.add(timer.as_fd(), 7, Interest::Read).unwrap();
    let began = Instant::now();
    timer.once(SOON).unwrap();
    assert_eq!(ready(&poller, MINUTE), [7]);
    assert!(began.elapsed() >= SOON);
    assert_eq!(ready(&poller, Some(Duration::ZERO)), [7]);
    timer.quiet();
    assert_eq!(ready(&poller, Some(SOON)), []);
    timer.every(SOON).unwrap();
    for _ in 0..3 {
        assert_eq!(ready(&poller, MINUTE), [7]);
        timer.quiet();
    }
    timer.every(Duration::ZERO).unwrap();
    assert_eq!(ready(&poller, Some(2 * SOON)), []);
}

#[test]
fn a_timer_that_is_wound_while_somebody_sleeps_wakes_them() {
    let (poller, timer) = (Poller::new().unwrap(), Timer::new().unwrap());
    poller.add(timer.as_fd(), 7, Interest::Read).unwrap();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| ready(&poller, MINUTE));
        thread::sleep(SOON);
        timer.once(SOON).unwrap();
        assert_eq!(sleeper.join().unwrap(), [7]);
    });
}

#[test]
fn sockets_are_told_of_for_what_they_are_asked_and_for_their_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(one.as_fd(), 3, Interest::Read).unwrap();
    assert_eq!(ready(&poller, Some(SOON)), []);
    poller.change(one.as_fd(), 3, Interest::ReadWrite).unwrap();
    let mut found = Vec::new();
    poller.wait(MINUTE, |key, readiness| found.push((key, readiness))).unwrap();
    assert_eq!(found, [(3, Readiness { readable: false, writable: true })]);
    poller.change(one.as_fd(), 3, Interest::Read).unwrap();
    drop(other);
    assert_eq!(ready(&poller, MINUTE), [3]);
}

#[test]
fn a_thread_that_waits_for_another_one_s_set_ends_with_it() {
    let (poller, alarm) = (Poller::new().unwrap(), Alarm::new().unwrap());
    poller.add(alarm.as_fd(), 1, Interest::Read).unwrap();
    let waiter = Waiter::new(poller.descriptor()).unwrap();
    assert!(!waiter.wait(SOON));
    alarm.ring();
    assert!(waiter.wait(SOON) && wait_readable(poller.descriptor(), MINUTE));
    drop(poller);
    assert!(!waiter.wait(SOON));
}
