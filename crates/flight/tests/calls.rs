//! What a client of ours gets from a server of ours.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrowlane_flight::{
    CallOptions, Client, ClientOptions, Descriptor, FlightError, Info, Location, Locations, Runtime, Server,
    ServerOptions, Shape,
};
use prost::Message as _;
use support::{Memory, large, numbers, words};

fn each() -> CallOptions {
    CallOptions { deadline: Some(Duration::from_secs(60)), ..CallOptions::default() }
}

fn served(options: ServerOptions) -> (Arc<Memory>, Server) {
    let catalog = Memory::with([("numbers", numbers()), ("words", words())]);
    let server = Server::bind("grpc+tcp://127.0.0.1:0", Arc::clone(&catalog) as _, options).unwrap();
    (catalog, server)
}

async fn client(server: &Server, locations: Locations) -> Client {
    let options = ClientOptions { locations, ..ClientOptions::default() };
    Client::connect(server.uri(), options, &each()).await.unwrap()
}

async fn read(client: &Client, name: &str) -> Vec<RecordBatch> {
    let info = client.info(&Descriptor::name(name), &each()).await.unwrap();
    let mut get = client.get(info.endpoints[0].ticket.clone(), &each()).await.unwrap();
    assert_eq!(get.schema(), info.schema);
    let mut batches = Vec::new();
    while let Some(batch) = get.next_batch().await.unwrap() {
        batches.push(batch);
    }
    batches
}

/// Runs a test on the runtime from a thread of its own.
fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    Runtime::shared().unwrap().block_on(work)
}

#[test]
fn what_is_served_is_listed_described_and_fetched() {
    let (_, server) = served(ServerOptions::default());
    on_runtime(async {
        let client = client(&server, Locations::Combined).await;
        let infos = client.list(&each()).await.unwrap();
        assert_eq!(infos.iter().map(|info| info.name().unwrap()).collect::<Vec<_>>(), ["numbers", "words"]);
        assert_ne!(infos[0].endpoints[0].ticket, infos[1].endpoints[0].ticket);
        for descriptor in [Descriptor::name("numbers"), Descriptor::Command("numbers".into())] {
            let info = client.info(&descriptor, &each()).await.unwrap();
            assert_eq!((info.rows, info.ordered), (Some(1003), true));
            assert_eq!(info.descriptor, Some(descriptor.clone()));
            assert_eq!(info.schema.unwrap(), client.schema(&descriptor, &each()).await.unwrap());
        }
        let polled = client.poll(&Descriptor::name("words"), &each()).await.unwrap();
        assert_eq!(polled.rows, Some(11));
        assert!(client.actions(&each()).await.unwrap().is_empty());
        assert_eq!(read(&client, "numbers").await, numbers());
        assert_eq!(read(&client, "words").await, words());
    });
}

#[test]
fn an_upload_is_taken_whole_or_not_at_all() {
    let (catalog, server) = served(ServerOptions::default());
    on_runtime(async {
        let client = client(&server, Locations::Inline).await;
        for (name, batches) in [("a", numbers()), ("b", words())] {
            let mut put = client.put(&Descriptor::name(name), batches[0].schema(), &each()).await.unwrap();
            for (index, batch) in batches.iter().enumerate() {
                put.send(batch, format!("{index}")).await.unwrap();
                assert_eq!(put.next_metadata().await.unwrap().unwrap(), format!("{index}"));
            }
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(put.finish().await.unwrap(), [rows.to_string()]);
            assert_eq!(read(&client, name).await, batches);
        }
        for _ in 0..50 {
            given_up(&client, &catalog).await;
        }
    });
}

/// An upload that is dropped in the middle is no dataset.
async fn given_up(client: &Client, catalog: &Memory) {
    let mut put = client.put(&Descriptor::name("dropped"), numbers()[0].schema(), &each()).await.unwrap();
    put.send(&numbers()[0], "seen").await.unwrap();
    put.next_metadata().await.unwrap();
    assert_eq!(catalog.uploads.load(Ordering::SeqCst), 1);
    drop(put);
    while catalog.uploads.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(catalog.get("dropped").is_none());
}

#[test]
fn an_upload_that_is_refused_says_why() {
    let (_, server) = served(ServerOptions::default());
    on_runtime(async {
        let client = client(&server, Locations::Inline).await;
        let mut put = client.put(&Descriptor::name("forbidden"), large(1 << 20).schema(), &each()).await.unwrap();
        let error = loop {
            // Some are under way before the refusal comes.
            if let Err(error) = put.send(&large(1 << 20), "").await {
                break error;
            }
        };
        assert_eq!(error.code(), "ERR_NOT_PERMITTED", "{error}");
        let mut put = client.put(&Descriptor::name("other"), numbers()[0].schema(), &each()).await.unwrap();
        assert!(matches!(put.send(&words()[0], "").await, Err(FlightError::Encode(_))));
    });
}

#[test]
fn an_exchange_answers_while_it_is_asked() {
    let (_, server) = served(ServerOptions::default());
    on_runtime(async {
        let client = client(&server, Locations::Inline).await;
        let batches = numbers();
        let mut echo = client.exchange(&Descriptor::name("echo"), batches[0].schema(), &each()).await.unwrap();
        for batch in &batches {
            echo.send(batch, "").await.unwrap();
            assert_eq!(echo.next_batch().await.unwrap().as_ref(), Some(batch));
            assert_eq!(echo.next_batch().await.unwrap().as_ref(), Some(batch));
        }
        echo.done();
        assert_eq!(echo.next_batch().await.unwrap().unwrap().num_rows(), 0);
        assert!(echo.next_batch().await.unwrap().is_none());
        let mut other = client.exchange(&Descriptor::name("x"), batches[0].schema(), &each()).await.unwrap();
        assert_eq!(other.next_batch().await.unwrap_err().code(), "ERR_UNSUPPORTED");
    });
}

#[test]
fn locations_are_for_those_who_ask() {
    let (_, server) = served(ServerOptions::default());
    let (_, always) = served(ServerOptions { locations: Locations::Split, ..ServerOptions::default() });
    on_runtime(async {
        let descriptor = Descriptor::name("numbers");
        let of = async |server: &Server, locations| {
            let client = client(server, locations).await;
            client.info(&descriptor, &each()).await.unwrap().endpoints.swap_remove(0)
        };
        let plain = of(&server, Locations::Inline).await;
        assert_eq!(plain.locations, [Location::Reuse]);
        assert!(plain.is_here());

        let combined = of(&server, Locations::Combined).await;
        assert_eq!(combined.locations[0], Location::Reuse);
        let Shape::Any(uris) = combined.shape() else { panic!("{combined:?}") };
        assert_eq!(uris.iter().map(|uri| uri.scheme.as_str()).collect::<Vec<_>>(), ["tcp", "ucx"]);

        for split in [of(&server, Locations::Split).await, of(&always, Locations::Inline).await] {
            let Shape::Split { metadata, data } = split.shape() else { panic!("{split:?}") };
            assert_eq!((metadata.want_data, data.want_data, data.free_data), (1, 2, Some(3)));
            assert!(!split.is_here());
        }
    });
}

#[test]
fn a_server_without_inline_data_moves_little_over_grpc() {
    let (catalog, server) = served(ServerOptions { inline: false, ..ServerOptions::default() });
    catalog.add("hundred", vec![large(4 << 20)], 25);
    on_runtime(async {
        let client = client(&server, Locations::Combined).await;
        let info = client.info(&Descriptor::name("hundred"), &each()).await.unwrap();
        let ticket = info.endpoints[0].ticket.clone();
        let error = client.get(ticket.clone(), &each()).await.err().unwrap();
        assert!(error.to_string().contains("arrowlane-locations"), "{error}");
        // What goes over a data URI is not Flight's; its metadata may be.
        let mut metadata = client.get_metadata(ticket, &each()).await.unwrap();
        let mut messages = 0;
        while let Some(message) = metadata.next().await.unwrap() {
            assert!(message.body.is_empty() && !message.header.is_empty());
            messages += 1;
        }
        assert_eq!(messages, 25);
        for counts in [server.counts(), client.counts()] {
            assert!(counts.sent() > 0 && counts.received() > 0);
            assert!(counts.sent() + counts.received() < 64 << 10, "{counts:?}");
        }
    });
}

#[test]
fn the_counters_see_what_is_sent_inline() {
    let (catalog, server) = served(ServerOptions::default());
    catalog.add("large", vec![large(4 << 20)], 3);
    on_runtime(async {
        let client = client(&server, Locations::Inline).await;
        let batches = read(&client, "large").await;
        assert_eq!(batches, vec![large(4 << 20); 3]);
        assert!(server.counts().sent() > 12 << 20 && client.counts().received() == server.counts().sent());
    });
}

#[test]
fn bodies_arrive_where_arrays_can_be_built_over_them() {
    let (catalog, server) = served(ServerOptions::default());
    catalog.add("large", vec![large(1 << 20)], 4);
    on_runtime(async {
        let client = client(&server, Locations::Inline).await;
        let info = client.info(&Descriptor::name("large"), &each()).await.unwrap();
        let mut get = client.get(info.endpoints[0].ticket.clone(), &each()).await.unwrap();
        while let Some(message) = get.next().await.unwrap() {
            assert_eq!(message.body.as_ptr() as usize % 64, 0);
            assert_eq!(message.body.len(), 1 << 20);
        }
    });
}

#[test]
fn a_flight_info_from_anywhere_is_read() {
    let info = arrow_flight::FlightInfo::new().try_with_schema(&numbers()[0].schema()).unwrap().with_endpoint(
        arrow_flight::FlightEndpoint::new()
            .with_ticket(arrow_flight::Ticket::new("t"))
            .with_location("grpc+tls://elsewhere:1")
            .with_location("https://bucket/x"),
    );
    let read = Info::read(&info.encode_to_vec()).unwrap();
    assert_eq!(read.schema, Some(numbers()[0].schema()));
    assert_eq!((read.rows, read.bytes), (None, None));
    assert_eq!(read.endpoints[0].elsewhere().collect::<Vec<_>>(), ["grpc+tls://elsewhere:1"]);
    assert!(!read.endpoints[0].is_here());
    for bytes in [&b"\x0a"[..], &[0xFF; 40], b"\x0a\x05hello"] {
        assert!(matches!(Info::read(bytes), Err(FlightError::Protocol(_))));
    }
}
