use super::*;
use crate::conversation::Wire;
use std::sync::Arc;

const CONFIG: SenderConfig = SenderConfig { free_tag: 70, ext_tag: Some(80) };

fn pair(address: u64, length: u64) -> Pair {
    Pair { address, length }
}

fn freed(addresses: &[u64]) -> Vec<u8> {
    let mut out = vec![];
    free::encode_into(addresses, &mut out);
    out
}

#[test]
fn a_message_goes_out_as_metadata_then_body() {
    let mut sender = Sender::<()>::new(CONFIG);
    let mut wire = Wire::default();
    sender.message(&[7], Body::None, &mut wire);
    let body = Body::Packed { parts: &[&[1, 2], &[3]], length: 3 };
    assert_eq!(sender.message(&[8], body, &mut wire), Serial(1));
    sender.finish(&mut wire);
    assert_eq!(wire.metadata, [vec![1, 0, 0, 0, 0, 7], vec![1, 1, 0, 0, 0, 8], vec![0, 2, 0, 0, 0]]);
    assert_eq!(wire.tagged, [(1, vec![1, 2, 3])]);
    assert_eq!(sender.sent_bytes(), 3);
}

#[test]
fn memory_is_kept_until_each_address_came_back_as_often_as_it_went_out() {
    let mut sender = Sender::new(CONFIG);
    let mut wire = Wire::default();
    let block = Arc::new(());
    for _ in 0..2 {
        let pairs = [pair(16, 4), pair(0, 0), pair(32, 8)];
        let body = Body::Pairs { total: 12, pairs: &pairs, keep: &block };
        sender.message(&[1], body, &mut wire);
    }
    assert_eq!(sender.outstanding(), 4, "empty pairs are never out");
    assert_eq!(Arc::strong_count(&block), 5);
    assert_eq!(sender.tagged(70, &freed(&[16, 32, 16])), Ok(SenderEvent::Freed { addresses: 3 }));
    assert_eq!(sender.consumed_bytes(), 16);
    assert_eq!(Arc::strong_count(&block), 2);
    sender.tagged(70, &freed(&[32])).unwrap();
    assert_eq!((Arc::strong_count(&block), sender.outstanding()), (1, 0));
    assert_eq!(sender.tagged(70, &freed(&[32])), Err(ProtocolError::NotOutstanding(32)), "never twice");
}

#[test]
fn of_an_address_that_is_out_twice_the_oldest_comes_back_first() {
    let mut sender = Sender::<()>::new(CONFIG);
    for length in [4, 8, 16] {
        let body = Body::Pairs { total: length, pairs: &[pair(16, length)], keep: &() };
        sender.message(&[1], body, &mut Wire::default());
    }
    // As the receiver counts: both know what was consumed without a credit for it.
    for freed in [4, 12, 28] {
        sender.free(16).unwrap();
        assert_eq!(sender.freed_bytes(), freed);
    }
    assert_eq!(sender.outstanding(), 0);
}

#[test]
fn an_empty_body_goes_out_as_an_empty_message_that_a_plain_client_waits_for() {
    let mut sender = Sender::<()>::new(SenderConfig { ext_tag: None, ..CONFIG });
    let mut wire = Wire::default();
    sender.message(&[1], Body::None, &mut wire);
    sender.message(&[1], Body::Packed { parts: &[], length: 0 }, &mut wire);
    let pairs = [Pair::default(); 2];
    sender.message(&[1], Body::Pairs { total: 0, pairs: &pairs, keep: &() }, &mut wire);
    assert_eq!(wire.tagged[0], (1, vec![]));
    assert_eq!((wire.tagged[1].0, wire.tagged[1].1.len()), (1 << 56 | 2, 48), "empty buffers are pairs of (0, 0)");
    assert_eq!((sender.outstanding(), sender.sent_bytes()), (0, 0));
    assert_eq!(sender.tagged(70, &freed(&[0])), Err(ProtocolError::NotOutstanding(0)), "and they never come back");
}

#[test]
fn a_sender_that_goes_lets_all_memory_go() {
    let mut sender = Sender::new(CONFIG);
    let block = Arc::new(());
    let body = Body::Pairs { total: 4, pairs: &[pair(16, 4)], keep: &block };
    sender.message(&[1], body, &mut Wire::default());
    drop(sender);
    assert_eq!(Arc::strong_count(&block), 1);
}

#[test]
fn credits_run_forwards_and_never_beyond_what_was_sent() {
    let mut sender = Sender::<()>::new(CONFIG);
    let body = Body::Packed { parts: &[&[0; 100]], length: 100 };
    sender.message(&[1], body, &mut Wire::default());
    let mut credit = |bytes: u64| sender.tagged(80, &bytes.to_le_bytes());
    assert_eq!(credit(60), Ok(SenderEvent::Credit { consumed: 60 }));
    assert!(credit(60).is_ok(), "a repeated credit is a heartbeat");
    assert!(credit(59).is_err());
    assert!(credit(101).is_err());
    assert_eq!(sender.consumed_bytes(), 60);
    assert_eq!(sender.tagged(80, &[]), Ok(SenderEvent::Cancelled));
    assert!(sender.tagged(80, &[1]).is_err());
    assert_eq!(sender.tagged(81, &[]), Err(ProtocolError::UnknownTag(81)), "an unknown tag is an error");
}

#[test]
fn a_plain_client_gets_no_extension_messages() {
    let mut sender = Sender::<()>::new(SenderConfig { ext_tag: None, ..CONFIG });
    let mut wire = Wire::default();
    sender.fail("ERR_X", "why", &mut wire);
    sender.heartbeat(&mut wire);
    sender.notice(&crate::Fields::default(), &mut wire);
    assert!(wire.metadata.is_empty());
    assert!(sender.tagged(80, &[]).is_err());
}

#[test]
fn numbers_wrap() {
    let mut sender = Sender::<()>::new(CONFIG);
    sender.next = Serial(u32::MAX);
    let mut wire = Wire::default();
    sender.message(&[1], Body::None, &mut wire);
    assert_eq!(sender.message(&[1], Body::None, &mut wire), Serial(0), "2³² is followed by 0");
}
