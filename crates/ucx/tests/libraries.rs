//! Two processes with a library each: every pair of the oldest and the newest that are tested.
#![allow(dead_code, reason = "of the support, which is for several tests")]

mod support;

use arrowlane_ucx::Search;
use support::Peer;

fn search() -> Search {
    support::system()
}

fn exchange(server: &Search, client: &Search) {
    let mut server = Peer::start(&["serve"], server);
    let uri = server.line();
    let mut client = Peer::start(&["exchange", &uri], client);
    assert!(client.line().starts_with("1."), "the client got and checked everything");
    assert_eq!(server.line(), "exchanged");
}

#[test]
fn the_systems_library_talks_to_itself() {
    exchange(&support::system(), &support::system());
}

#[test]
fn the_newest_library_talks_to_itself() {
    exchange(&support::newest(), &support::newest());
}

#[test]
fn a_server_with_the_systems_library_serves_a_client_with_the_newest() {
    exchange(&support::system(), &support::newest());
}

#[test]
fn a_server_with_the_newest_library_serves_a_client_with_the_systems() {
    exchange(&support::newest(), &support::system());
}

fn idle(search: &Search) {
    let mut server = Peer::start(&["serve"], search);
    let uri = server.line();
    let mut clients = Peer::start(&["idle", &uri, "200"], search);
    assert_eq!(clients.line(), "ready");
    for (who, peer) in [("server", &server), ("clients", &clients)] {
        let (descriptors, bytes) = peer.holds();
        println!("{who}: {descriptors} descriptors, {} MB", bytes >> 20);
        assert!(descriptors <= 2000, "the {who} hold {descriptors} descriptors");
        assert!(bytes <= 300 << 20, "the {who} hold {bytes} bytes");
    }
}

#[test]
fn two_hundred_idle_clients_take_two_thousand_descriptors_at_most_and_300_mb_with_the_systems_library() {
    idle(&support::system());
}

#[test]
fn two_hundred_idle_clients_take_two_thousand_descriptors_at_most_and_300_mb_with_the_newest_library() {
    idle(&support::newest());
}
