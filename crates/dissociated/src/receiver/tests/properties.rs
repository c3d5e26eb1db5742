//! What holds for every order of arrival, and for messages of any content.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{Body, Sender, SenderConfig, SenderEvent, encode_dictionary};

fn sender<T: Clone>() -> Sender<T> {
    Sender::new(SenderConfig { free_tag: FREE, ext_tag: Some(EXT) })
}

/// What events say, for comparing.
fn told(events: &mut Receiver, into: &mut Vec<String>) {
    while let Some(event) = events.next() {
        into.push(match event {
            Event::Schema(s, _) => format!("schema {}", s.schema.fields().len()),
            Event::Batch { serial, body, .. } => format!("batch {} {body:?}", serial.0),
            Event::Dictionary { id, body, .. } => format!("dictionary {id} {body:?}"),
            other => format!("{other:?}"),
        });
    }
}

proptest! {
    #[test]
    fn every_interleaving_of_metadata_and_bodies_tells_the_same(
        kinds in proptest::collection::vec(0usize..4, 0..8),
        choices in proptest::collection::vec(any::<bool>(), 40),
        keep in 0usize..3,
    ) {
        let block = Arc::new(());
        let mut sender = sender();
        let mut wire = Wire::default();
        sender.message(&schema(), Body::None, &mut wire);
        for (i, kind) in kinds.iter().enumerate() {
            let address = 64 * (i as u64 % 3 + 1);
            let list = [Pair { address, length: 8 }];
            let in_place = Body::Pairs { total: 8, pairs: &list, keep: &block };
            let inline = Body::Packed { parts: &[&[i as u8; 8]], length: 8 };
            match kind {
                0 => sender.message(&batch(&[8]), in_place, &mut wire),
                1 => sender.message(&batch(&[8]), inline, &mut wire),
                2 => sender.message(&batch(&[0]), Body::None, &mut wire),
                _ => sender.message(&encode_dictionary(1, false, &header(&[8])), in_place, &mut wire),
            };
        }
        sender.finish(&mut wire);

        let run = |order: &[bool]| {
            let mut receiver = receiver();
            let (mut metadata, mut bodies) = (wire.metadata.iter(), wire.tagged.iter());
            let mut events = vec![];
            let mut order = order.iter().copied().cycle();
            loop {
                let body_next = order.next().unwrap_or(false);
                let (left, right) = (metadata.len(), bodies.len());
                if left + right == 0 {
                    return (events, receiver);
                }
                // The end comes on the ordered stream, so a body may come after it but not its metadata.
                if right > 0 && (body_next || left == 0) {
                    let (tag, body) = bodies.next().unwrap();
                    receiver.tagged(*tag, Bytes::copy_from_slice(body)).unwrap();
                } else {
                    receiver.metadata(metadata.next().unwrap()).unwrap();
                }
                told(&mut receiver, &mut events);
            }
        };
        let (expected, _) = run(&[false]);
        let (events, mut receiver) = run(&choices);
        prop_assert_eq!(&events, &expected);
        prop_assert_eq!(expected.last().map(String::as_str), Some("End"));

        // And what comes back frees exactly what went out.
        let addresses: Vec<u64> = receiver.returns.held_addresses().collect();
        prop_assert_eq!(addresses.len(), sender.outstanding());
        let later = keep.min(addresses.len());
        for part in [&addresses[later..], &addresses[..later]] {
            receiver.free(part);
            let mut back = Wire::default();
            if receiver.flush(&mut back) {
                let freed = sender.tagged(back.tagged[0].0, &back.tagged[0].1).unwrap();
                prop_assert_eq!(freed, SenderEvent::Freed { addresses: part.len() });
            }
        }
        prop_assert_eq!(sender.outstanding(), 0);
        prop_assert_eq!(Arc::strong_count(&block), 1);
    }

    #[test]
    fn arbitrary_messages_never_panic(
        messages in proptest::collection::vec(
            (any::<bool>(), 0u64..6, 0u8..4, proptest::collection::vec(any::<u8>(), 0..40), 0usize..5), 0..30)
    ) {
        let mut receiver = started();
        for (metadata, serial, kind, garbage, shape) in messages {
            let _ = if metadata {
                let kind = [1, 1, 0, 0xe0][usize::from(kind)];
                let payload = match shape {
                    0 => garbage,
                    1 => vec![],
                    2 => schema(),
                    3 => batch(&[8]),
                    _ => batch(&[0]),
                };
                receiver.metadata(&framed(kind, serial as u32, &payload))
            } else {
                let body = match shape {
                    0 | 1 => Bytes::from(garbage),
                    2 => pairs_body(0, &[(serial, 8)]).1,
                    _ => Bytes::from_static(&[0; 8]),
                };
                receiver.tagged(u64::from(kind) << 56 | serial, body)
            };
            if shape % 2 == 0 {
                while let Some(event) = receiver.next() {
                    if let Event::Batch { header, body, .. } = event {
                        let _ = body.spans(&header);
                        let freed: Vec<u64> = body.held_pairs().map(|p| p.address).collect();
                        receiver.free(&freed);
                    }
                }
                receiver.flush(&mut Wire::default());
            }
        }
    }
}
