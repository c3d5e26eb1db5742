//! Deadlines, cancellations, and clients that mean harm.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_schema::SchemaRef;
use arrowlane_flight::{
    CallOptions, Caller, Cancellation, Catalog, CatalogError, Client, ClientOptions, Description, Descriptor,
    Locations, Minted, Part, Runtime, Server, ServerOptions, Snapshot,
};
use support::{Guard, Memory, large, numbers};

fn each() -> CallOptions {
    CallOptions { deadline: Some(Duration::from_secs(60)), ..CallOptions::default() }
}

fn serve(catalog: Arc<dyn Catalog>, options: ServerOptions) -> Server {
    Server::bind("grpc+tcp://127.0.0.1:0", catalog, options).unwrap()
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    Runtime::shared().unwrap().block_on(work)
}

async fn client(server: &Server, options: ClientOptions) -> Client {
    Client::connect(server.uri(), options, &each()).await.unwrap()
}

async fn until(done: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

#[test]
fn tickets_that_are_unknown_expired_stolen_or_huge_are_refused() {
    let mut catalog = Memory::default();
    catalog.add("numbers", numbers(), 1);
    catalog.lifetime = Some(Duration::from_secs(3600));
    let options = ServerOptions { authenticate: Some(Arc::new(Guard)), ..ServerOptions::default() };
    let server = serve(Arc::new(catalog), options.clone());
    let mut expired = Memory::default();
    expired.add("numbers", numbers(), 1);
    expired.lifetime = Some(Duration::ZERO);
    let expiring = serve(Arc::new(expired), options);
    on_runtime(async {
        let ada = ClientOptions {
            credentials: arrowlane_flight::Credentials::Basic { user: "ada".into(), password: "lovelace".into() },
            ..ClientOptions::default()
        };
        let grace = ClientOptions {
            credentials: arrowlane_flight::Credentials::Bearer("secret".into()),
            ..ClientOptions::default()
        };
        let ticket_of = async |client: &Client| {
            let info = client.info(&Descriptor::name("numbers"), &each()).await.unwrap();
            assert!(info.endpoints[0].expires.is_some());
            info.endpoints[0].ticket.clone()
        };
        let refusal =
            async |client: &Client, ticket: bytes::Bytes| client.get(ticket, &each()).await.err().unwrap().code();
        let (ada_here, grace_here) = (client(&server, ada.clone()).await, client(&server, grace).await);
        let ticket = ticket_of(&ada_here).await;
        assert_eq!(refusal(&grace_here, ticket.clone()).await, "ERR_NOT_FOUND");
        assert_eq!(refusal(&ada_here, "0".repeat(32).into()).await, "ERR_NOT_FOUND");
        assert_eq!(refusal(&ada_here, bytes::Bytes::new()).await, "ERR_NOT_FOUND");
        assert_eq!(refusal(&ada_here, vec![7; 64 << 20].into()).await, "ERR_OUT_OF_MEMORY");
        assert!(server.counts().received() < 48 << 20, "the huge ticket was read");
        let late = client(&expiring, ada).await;
        assert_eq!(refusal(&late, ticket_of(&late).await).await, "ERR_NOT_FOUND");
        // Nobody else was disturbed.
        assert!(ada_here.get(ticket, &each()).await.is_ok());
    });
}

/// A catalog whose one dataset never ends: it sends so many parts, and then takes its time.
struct Slow {
    parts: usize,
    wait: Duration,
}

struct SlowSnapshot(usize, Duration, SchemaRef);

impl Catalog for Slow {
    fn list(&self, _: &Caller) -> Result<Vec<String>, CatalogError> {
        std::thread::sleep(self.wait);
        Ok(Vec::new())
    }

    fn describe(&self, _: &str, _: &Caller) -> Result<Description, CatalogError> {
        Ok(Description { schema: numbers()[0].schema(), rows: None, bytes: None, ordered: false })
    }

    fn mint(&self, name: &str, caller: &Caller) -> Result<Minted, CatalogError> {
        let description = self.describe(name, caller)?;
        Ok(Minted { description, ticket: "t".into(), expires: None, locations: Vec::new() })
    }

    fn redeem(&self, _: &[u8], _: &Caller) -> Result<Box<dyn Snapshot>, CatalogError> {
        Ok(Box::new(SlowSnapshot(self.parts, self.wait, numbers()[0].schema())))
    }
}

impl Snapshot for SlowSnapshot {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.2)
    }

    fn next(&mut self) -> Result<Option<Part>, CatalogError> {
        if self.0 == 0 {
            std::thread::sleep(self.1);
        }
        self.0 = self.0.saturating_sub(1);
        let batch = numbers().swap_remove(0);
        let parts = arrowlane_flight::Encoder::new(batch.schema()).batch(&batch);
        parts.map(|mut parts| parts.pop()).map_err(|error| CatalogError::Failed(error.to_string()))
    }
}

#[test]
fn a_deadline_ends_a_call_on_both_sides() {
    let server = serve(Arc::new(Slow { parts: 2, wait: Duration::from_secs(3) }), ServerOptions::default());
    on_runtime(async {
        let client = client(&server, ClientOptions::default()).await;
        let short = CallOptions { deadline: Some(Duration::from_millis(300)), ..CallOptions::default() };
        let mut get = client.get("t", &short).await.unwrap();
        let error = loop {
            if let Err(error) = get.next().await {
                break error;
            }
        };
        assert_eq!(error.code(), "ERR_TIMEOUT", "{error}");
        assert!(get.next().await.unwrap().is_none(), "it is over");
        let error = client.list(&short).await.unwrap_err();
        assert_eq!(error.code(), "ERR_TIMEOUT", "{error}");
    });
}

#[test]
fn a_service_that_falls_silent_is_given_up() {
    let server = serve(Arc::new(Slow { parts: 2, wait: Duration::from_secs(3) }), ServerOptions::default());
    on_runtime(async {
        let options = ClientOptions { deadline: Duration::from_millis(300), ..ClientOptions::default() };
        let client = client(&server, options).await;
        let mut get = client.get("t", &CallOptions::default()).await.unwrap();
        let error = loop {
            if let Err(error) = get.next().await {
                break error;
            }
        };
        assert!(matches!(error, arrowlane_flight::FlightError::Silent { call: "DoGet", .. }), "{error}");
    });
}

#[test]
fn the_server_ends_a_stream_at_the_deadline_that_a_client_named() {
    let server = serve(Arc::new(Slow { parts: usize::MAX, wait: Duration::ZERO }), ServerOptions::default());
    on_runtime(async {
        // By hand: our own client would notice the deadline itself.
        let headers = vec![("grpc-timeout".to_owned(), "300m".to_owned())];
        let client = client(&server, ClientOptions { headers, ..ClientOptions::default() }).await;
        let mut get = client.get("t", &CallOptions::default()).await.unwrap();
        let error = loop {
            if let Err(error) = get.next().await {
                break error;
            }
        };
        assert!(error.to_string().contains("deadline passed"), "{error}");
    });
}

#[test]
fn a_cancelled_call_ends_and_its_snapshot_goes() {
    let catalog = Arc::new(Memory::default());
    catalog.add("large", vec![large(4 << 20)], 1 << 20);
    let server = serve(Arc::clone(&catalog) as _, ServerOptions::default());
    on_runtime(async {
        let client = client(&server, ClientOptions::default()).await;
        let ticket = client.info(&Descriptor::name("large"), &each()).await.unwrap().endpoints[0].ticket.clone();
        let cancel = Cancellation::new();
        let options = CallOptions { cancel: cancel.clone(), ..CallOptions::default() };
        let mut get = client.get(ticket.clone(), &options).await.unwrap();
        get.next().await.unwrap().unwrap();
        assert_eq!(catalog.open.load(Ordering::SeqCst), 1);
        cancel.cancel();
        assert_eq!(get.next().await.unwrap_err().code(), "ERR_CANCELLED");
        assert_eq!(client.list(&options).await.unwrap_err().code(), "ERR_CANCELLED");
        drop(get);
        until(|| catalog.open.load(Ordering::SeqCst) == 0).await;
        // So does one that nobody reads any more.
        drop(client.get(ticket, &each()).await.unwrap());
        until(|| catalog.open.load(Ordering::SeqCst) == 0).await;
    });
}

/// Reads until the server ends the connection.
fn read_to_end(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // A reset is an end as well.
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open");
    }
}

fn address(server: &Server) -> String {
    server.uri().trim_start_matches("grpc+tcp://").to_owned()
}

#[test]
fn a_snapshot_that_nobody_reads_is_let_go() {
    let catalog = Arc::new(Memory::default());
    catalog.add("large", vec![large(4 << 20)], 1 << 20);
    let options = ServerOptions { stall: Duration::from_secs(3), ..ServerOptions::default() };
    let server = serve(Arc::clone(&catalog) as _, options);
    on_runtime(async {
        let client = client(&server, ClientOptions::default()).await;
        let ticket = client.info(&Descriptor::name("large"), &each()).await.unwrap().endpoints[0].ticket.clone();
        // While it is read it stays, however long that takes.
        let mut get = client.get(ticket, &each()).await.unwrap();
        for _ in 0..20 {
            get.next().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(catalog.open.load(Ordering::SeqCst), 1);
        until(|| catalog.open.load(Ordering::SeqCst) == 0).await;
        let error = loop {
            if let Err(error) = get.next().await {
                break error;
            }
        };
        assert!(error.to_string().contains("gave the stream up"), "{error}");
        assert_eq!(client.list(&each()).await.unwrap().len(), 1);
    });
}

#[test]
fn a_client_that_says_nothing_or_nonsense_is_closed() {
    let options = ServerOptions { silence: Duration::from_millis(200), ..ServerOptions::default() };
    let server = serve(Memory::with([("numbers", numbers())]), options);
    let mut halting = TcpStream::connect(address(&server)).unwrap();
    halting.write_all(b"PRI * HTTP").unwrap();
    read_to_end(TcpStream::connect(address(&server)).unwrap());
    read_to_end(halting);
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 1000], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xFF\xFF\xFF\x00\x00"]
    {
        let mut stream = TcpStream::connect(address(&server)).unwrap();
        stream.write_all(bytes).unwrap();
        read_to_end(stream);
    }
    on_runtime(async {
        assert_eq!(client(&server, ClientOptions::default()).await.list(&each()).await.unwrap().len(), 1)
    });
}

#[test]
fn one_connection_too_many_is_closed_and_makes_room_when_others_go() {
    let options = ServerOptions { silence: Duration::from_secs(600), max_connections: 2, ..ServerOptions::default() };
    let server = serve(Memory::with([("numbers", numbers())]), options);
    let first = [TcpStream::connect(address(&server)).unwrap(), TcpStream::connect(address(&server)).unwrap()];
    read_to_end(TcpStream::connect(address(&server)).unwrap());
    drop(first);
    on_runtime(async {
        tokio::time::timeout(Duration::from_secs(30), async {
            while Client::connect(server.uri(), ClientOptions::default(), &each()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    });
}

#[test]
fn requests_that_make_no_sense_are_refused_and_disturb_nobody() {
    let server = serve(Memory::with([("numbers", numbers())]), ServerOptions::default());
    on_runtime(async {
        let client = client(&server, ClientOptions::default()).await;
        for descriptor in [
            Descriptor::Path(vec![]),
            Descriptor::name(""),
            Descriptor::name("x".repeat(5000)),
            Descriptor::Command(vec![0xFF, 0xFE].into()),
        ] {
            for error in [
                client.info(&descriptor, &each()).await.err().unwrap(),
                client.schema(&descriptor, &each()).await.err().unwrap(),
                client.poll(&descriptor, &each()).await.err().unwrap(),
            ] {
                assert_eq!(error.code(), "ERR_INVALID_ARGUMENT", "{descriptor:?}: {error}");
            }
            let mut put = client.put(&descriptor, numbers()[0].schema(), &each()).await.unwrap();
            assert_eq!(put.next_metadata().await.unwrap_err().code(), "ERR_INVALID_ARGUMENT");
        }
        let huge = Descriptor::Command(vec![b'x'; 64 << 20].into());
        assert!(client.info(&huge, &each()).await.is_err());
        // The refusal may come before all of it was sent.
        let error = match client.put(&huge, numbers()[0].schema(), &each()).await {
            Ok(mut put) => put.next_metadata().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code(), "ERR_OUT_OF_MEMORY", "{error}");
        let odd = ClientOptions { headers: vec![("grpc-timeout".into(), "soon".into())], ..ClientOptions::default() };
        let odd = Client::connect(server.uri(), odd, &each()).await.unwrap();
        assert_eq!(odd.get("t", &CallOptions::default()).await.err().unwrap().code(), "ERR_INVALID_ARGUMENT");
        assert_eq!(client.list(&each()).await.unwrap().len(), 1);
    });
}

#[test]
fn a_message_beyond_the_limit_is_refused_on_either_side() {
    let catalog = Memory::with([("large", vec![large(4 << 20)])]);
    let server = serve(catalog, ServerOptions { max_message: 1 << 20, ..ServerOptions::default() });
    on_runtime(async {
        let strict = ClientOptions { max_message: 1 << 20, ..ClientOptions::default() };
        let strict = client(&server, strict).await;
        let ticket = strict.info(&Descriptor::name("large"), &each()).await.unwrap().endpoints[0].ticket.clone();
        let mut get = strict.get(ticket, &each()).await.unwrap();
        let error = get.next().await.unwrap_err();
        assert!(error.to_string().contains("the limit is 1048576"), "{error}");
        let mut put = strict.put(&Descriptor::name("x"), large(4 << 20).schema(), &each()).await.unwrap();
        let error = loop {
            if let Err(error) = put.send(&large(4 << 20), "").await {
                break error;
            }
        };
        assert!(error.to_string().contains("the limit is 1048576"), "{error}");
    });
}

#[test]
fn closing_waits_for_streams_and_then_cuts_them() {
    let catalog = Arc::new(Memory::default());
    catalog.add("large", vec![large(4 << 20)], 1 << 20);
    catalog.add("numbers", numbers(), 1);
    let server = serve(Arc::clone(&catalog) as _, ServerOptions::default());
    on_runtime(async {
        let options = ClientOptions { locations: Locations::Inline, ..ClientOptions::default() };
        let client = client(&server, options).await;
        let ticket = client.info(&Descriptor::name("large"), &each()).await.unwrap().endpoints[0].ticket.clone();
        let mut get = client.get(ticket, &each()).await.unwrap();
        get.next().await.unwrap().unwrap();
        server.close(Duration::from_millis(100)).await;
        let error = loop {
            match get.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended as if it were whole"),
                Err(error) => break error,
            }
        };
        assert_ne!(error.code(), "ERR_TIMEOUT", "{error}");
        until(|| catalog.open.load(Ordering::SeqCst) == 0).await;
        let again = CallOptions { deadline: Some(Duration::from_secs(10)), ..CallOptions::default() };
        assert!(client.list(&again).await.is_err());
    });
}
