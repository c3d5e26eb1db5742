//! Names: who gets one, who is turned away, and what dead owners leave.

use std::{
    path::Path,
    sync::{Arc, Barrier},
};

use arrowlane_transport::{
    TransportError,
    shm::{Folder, ShmListener},
    system::{UnixAddress, stream_socket},
};

fn folder(path: &Path) -> Arc<Folder> {
    Arc::new(Folder::open(path).expect("a folder"))
}

fn files(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .expect("read")
        .map(|e| e.expect("entry").file_name().into_string().expect("text"))
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

/// A socket whose owner died: bound, and nobody listens any more.
fn stale(path: &Path) {
    let socket = stream_socket().expect("a socket");
    rustix::net::bind(&socket, &UnixAddress::new(path).expect("an address")).expect("bound");
}

#[test]
fn of_two_who_bind_at_once_exactly_one_wins_whatever_was_left_there() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    folder(&path);
    for round in 0..50 {
        let topic = "contested";
        if round % 2 == 1 {
            stale(&path.join(topic));
        }
        let start = Barrier::new(2);
        // Kept until both have tried: a winner that closes would make room for the other.
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let contenders: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let own = folder(&path);
                        start.wait();
                        ShmListener::bind(own, topic)
                    })
                })
                .collect();
            contenders.into_iter().map(|c| c.join().expect("no panic")).collect()
        });
        let winners = outcomes.iter().filter(|o| o.is_ok()).count();
        assert_eq!(winners, 1, "round {round}");
        let lost = outcomes.iter().find_map(|o| o.as_ref().err()).expect("a loser");
        assert!(matches!(lost, TransportError::Taken(name) if name == topic), "{lost}");
        assert_eq!(files(&path), [topic]);
        ShmListener::connect(&folder(&path), topic).expect("the winner listens");
        drop(outcomes);
        assert!(files(&path).is_empty(), "the winner took its name with it, the loser did not");
    }
}

#[test]
fn a_dead_owners_name_is_free_for_those_who_bind_and_missing_for_those_who_connect() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    let folder = folder(&path);
    stale(&path.join("x"));
    assert!(matches!(ShmListener::connect(&folder, "x"), Err(TransportError::NotFound(_))));
    assert!(files(&path).is_empty(), "it was removed");
    stale(&path.join("x"));
    let listener = ShmListener::bind(Arc::clone(&folder), "x").expect("taken over");
    ShmListener::connect(&folder, "x").expect("connected");
    assert!(listener.accept().expect("accepted").is_some());
}

#[cfg(unix)]
#[test]
fn a_lock_that_somebody_holds_for_ever_does_not_stop_those_who_connect() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    let folder = folder(&path);
    stale(&path.join("x"));
    let holder = std::fs::File::open(&path).expect("opened");
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    assert!(matches!(ShmListener::connect(&folder, "x"), Err(TransportError::NotFound(_))));
    assert_eq!(files(&path), ["x"], "it stays for whoever gets the lock");
}

#[cfg(unix)]
#[test]
fn what_died_before_it_had_its_name_is_swept_away_by_the_next_one() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    let folder = folder(&path);
    stale(&path.join(".0123456789abcdef"));
    let listener = ShmListener::bind(Arc::clone(&folder), "x").expect("bound");
    assert_eq!(files(&path), ["x"]);
    drop(listener);
    assert!(files(&path).is_empty());
}

#[test]
fn a_name_that_somebody_else_took_over_is_not_removed_by_its_old_owner() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    let folder = folder(&path);
    let old = ShmListener::bind(Arc::clone(&folder), "x").expect("bound");
    std::fs::remove_file(path.join("x")).expect("removed by hand");
    let new = ShmListener::bind(Arc::clone(&folder), "x").expect("bound again");
    drop(old);
    assert_eq!(files(&path), ["x"]);
    ShmListener::connect(&folder, "x").expect("the new one listens");
    drop(new);
}

#[cfg(unix)]
#[test]
fn a_full_queue_of_connections_means_busy_and_taken_and_never_dead() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    let folder = folder(&path);
    let listener = ShmListener::bind(Arc::clone(&folder), "x").expect("bound");
    let mut crowd = Vec::new();
    let error = loop {
        match ShmListener::connect(&folder, "x") {
            Ok(one) => crowd.push(one),
            Err(error) => break error,
        }
        assert!(crowd.len() < 10_000, "the queue has an end");
    };
    assert!(matches!(error, TransportError::Busy(_)), "{error}");
    assert!(matches!(ShmListener::bind(Arc::clone(&folder), "x"), Err(TransportError::Taken(_))));
    while listener.accept().expect("accepted").is_some() {}
    ShmListener::connect(&folder, "x").expect("room again");
    // A stranger's plain socket is as good as ours as far as the name goes.
    std::os::unix::net::UnixStream::connect(path.join("x")).expect("connected");
}
