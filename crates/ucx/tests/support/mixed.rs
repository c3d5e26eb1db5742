//! Messages of every kind and length, as both processes know them.

use arrowlane_transport::Endpoint;
use bytes::Bytes;

/// A message: its tag, none for metadata, and the lengths of its parts.
pub struct Message {
    pub tag: Option<u64>,
    pub parts: Vec<usize>,
    number: usize,
}

/// What is exchanged, in this order.
pub fn mixed() -> Vec<Message> {
    let lengths: [&[usize]; 14] = [
        &[0],
        &[1],
        &[63],
        &[4097],
        &[8192, 0, 1],
        &[65_536],
        &[100; 300],
        &[300_000],
        &[0, 0],
        &[1_000_001, 8, 3],
        &[16 << 20],
        &[5 << 20, 7, 5 << 20],
        &[2],
        &[64; 3000],
    ];
    let kinds = [None, Some(1 << 32), Some(u64::MAX - 1)];
    let all = lengths.iter().flat_map(|parts| kinds.iter().map(move |tag| (*tag, parts.to_vec())));
    all.enumerate().map(|(number, (tag, parts))| Message { tag, parts, number }).collect()
}

impl Message {
    pub fn bytes(&self) -> Vec<u8> {
        let length: usize = self.parts.iter().sum();
        (0..length).map(|i| (i.wrapping_mul(31) ^ self.number.wrapping_mul(131) ^ (i >> 8)) as u8).collect()
    }
}

/// Small tags are bodies of their parts, large ones plain tagged messages.
pub fn send(end: &mut dyn Endpoint, message: &Message) {
    let bytes = message.bytes();
    match message.tag {
        None => end.metadata(&[&bytes]),
        Some(tag) if tag > 1 << 32 => end.tagged(tag, &[&bytes]),
        Some(tag) => {
            let mut rest = Bytes::from(bytes);
            let parts = message.parts.iter().map(|length| rest.split_to(*length)).collect();
            end.body(tag, parts);
        }
    }
}

/// Checks what comes against what was sent.
#[derive(Default)]
pub struct Mixed {
    came: usize,
}

impl Mixed {
    pub fn check(&mut self, tag: Option<u64>, bytes: &[u8]) {
        let all = mixed();
        let expected = all.get(self.came).expect("no more than was sent");
        assert_eq!(tag, expected.tag, "message {}", self.came);
        assert!(bytes == expected.bytes(), "message {} differs", self.came);
        self.came += 1;
    }

    pub fn is_complete(&self) -> bool {
        self.came == mixed().len()
    }

    pub fn assert_complete(&self) {
        assert_eq!(self.came, mixed().len(), "all of it has to come before the end");
    }
}
