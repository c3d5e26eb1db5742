//! What holds for messages of any content.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn arbitrary_messages_never_panic(
        unordered in any::<bool>(),
        messages in proptest::collection::vec(
            (any::<bool>(), 0u64..6, 0u8..4, proptest::collection::vec(any::<u8>(), 0..40), 0usize..5), 0..30)
    ) {
        let mut receiver = started();
        receiver.config.unordered = unordered;
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
                let _ = receiver.missing();
            }
        }
    }
}
