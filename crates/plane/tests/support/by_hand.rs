//! A publisher of the test's own making, which says what it likes.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrowlane_dissociated::{BatchHeader, Body, Pair, Sender, SenderConfig, SenderEvent, encode_schema};
use arrowlane_memory::{Block, Kind, Pool, PoolConfig};
use arrowlane_plane::SubscriptionOptions;
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    shm::{ShmEndpoint, ShmListener},
};

use super::{Consumer, World};

/// It greets without `returns=1`: what goes back comes in messages.
pub struct ByHand {
    _listener: ShmListener,
    pub endpoint: ShmEndpoint,
    pub sender: Sender<Arc<Block>>,
    pub pool: Pool,
    /// How many addresses each `free_data` message had.
    pub frees: Vec<usize>,
}

impl ByHand {
    pub fn new(world: &World, options: SubscriptionOptions) -> (Self, Consumer) {
        let listener = ShmListener::bind(Arc::clone(&world.folder), "topic").expect("bound");
        let consumer = Consumer::with_options(Arc::clone(&world.folder), "topic", options).expect("connected");
        let mut endpoint = listener.accept().expect("accepted").expect("somebody waits");
        endpoint.greet("shm:///x?want_data=1&free_data=2&want_data_ext=3");
        endpoint.flush().expect("greeted");
        let sender = Sender::new(SenderConfig { free_tag: 2, ext_tag: Some(3) });
        let config = PoolConfig { kind: Kind::Shared, limit: 64 << 20, segment: 16 << 20, max_segments: 4 };
        let pool = Pool::new(config).expect("a pool");
        pool.grow(16 << 20).expect("memory");
        (Self { _listener: listener, endpoint, sender, pool, frees: Vec::new() }, consumer)
    }

    pub fn schema(&mut self, batch: &RecordBatch) {
        self.sender.message(&encode_schema(&batch.schema()), Body::None, &mut self.endpoint);
    }

    pub fn packed(&mut self, flatbuffer: &[u8], body: &[u8]) {
        let body = Body::Packed { parts: &[body], length: body.len() as u64 };
        self.sender.message(flatbuffer, body, &mut self.endpoint);
    }

    /// Lends the body, which lies `shift` bytes behind where a page begins: a pair for each buffer of the header.
    pub fn lent(&mut self, flatbuffer: &[u8], header: &BatchHeader, body: &[u8], shift: usize) {
        let block = Arc::new(self.pool.try_allocate(body.len() + shift).expect("memory"));
        // SAFETY: the block has as many bytes and is nobody else's yet.
        unsafe { std::ptr::copy_nonoverlapping(body.as_ptr(), block.as_ptr().as_ptr().add(shift), body.len()) };
        self.endpoint.lend(&self.pool, &block).expect("lent");
        let start = block.address() + shift as u64;
        let pairs: Vec<_> = header
            .buffers
            .iter()
            .map(|span| match span.length {
                0 => Pair::default(),
                length => Pair { address: start + span.offset, length },
            })
            .collect();
        let total = pairs.iter().map(|p| p.length).sum();
        self.sender.message(flatbuffer, Body::Pairs { total, pairs: &pairs, keep: &block }, &mut self.endpoint);
    }

    /// Hands over what was sent and takes what came back; the consumer has no turn.
    pub fn turn(&mut self) {
        let _ = self.endpoint.flush();
        let mut inbox = Returns { sender: &mut self.sender, frees: &mut self.frees };
        let _ = self.endpoint.receive(1 << 20, &mut inbox);
    }

    /// Turns both until nothing moves.
    pub fn run(&mut self, consumer: &mut Consumer) {
        let mut rest = 0;
        while rest < 3 {
            self.turn();
            rest = if consumer.turn() { 0 } else { rest + 1 };
        }
        self.turn();
    }
}

struct Returns<'a> {
    sender: &'a mut Sender<Arc<Block>>,
    frees: &'a mut Vec<usize>,
}

impl Inbox for Returns<'_> {
    fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
        panic!("a client does not greet")
    }
    fn metadata(&mut self, _bytes: &[u8]) -> Result<(), TransportError> {
        panic!("a client sends no metadata")
    }
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        // The first is the ticket.
        if body.starts_with(b"topic") {
            return Ok(());
        }
        match self.sender.tagged(tag, body).expect("what comes back went out") {
            SenderEvent::Freed { addresses } => self.frees.push(addresses),
            SenderEvent::Credit { .. } | SenderEvent::Cancelled => {}
        }
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}
