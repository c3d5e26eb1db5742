//! A Flight server or client on the command line, for tests with other implementations at the other end.
//!
//! `flight_peer serve URI [no-inline] [auth] [always|split] [tls CERTIFICATE KEY]` prints its address and serves until standard input ends.
//! `flight_peer CALL URI NAME [roots FILE] [user NAME PASSWORD]` calls list, info, get, put, exchange or time, and prints what came.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrowlane_flight::{
    CallOptions, Client, ClientOptions, ClientTls, Credentials, Descriptor, FlightError, Locations, Runtime, Server,
    ServerOptions, ServerTls,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", uri, ref options @ ..] => serve(uri, options),
        [call, uri, name, ref options @ ..] => {
            let options = client_options(options)?;
            let runtime = Runtime::shared()?;
            let [call, uri, name] = [call, uri, name].map(str::to_owned);
            // On the runtime's own threads: data that was just read is used by the thread that read it.
            let work = runtime.spawn(async move { one_call(&call, &uri, &name, options).await });
            runtime.block_on(work)??;
            Ok(())
        }
        _ => Err("usage: flight_peer serve URI … | flight_peer CALL URI NAME …".into()),
    }
}

fn serve(uri: &str, words: &[&str]) -> Result<(), Failure> {
    let mut options = ServerOptions::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "no-inline" => options.inline = false,
            "auth" => options.authenticate = Some(Arc::new(support::Guard)),
            "always" => options.locations = Locations::Combined,
            "split" => options.locations = Locations::Split,
            "tls" => {
                let mut file = || std::fs::read(words.next().unwrap_or(&""));
                options.tls = Some(ServerTls { certificate: file()?, key: file()?, client_roots: None });
            }
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let catalog = support::Memory::with([("numbers", support::numbers()), ("words", support::words())]);
    catalog.add("large", vec![support::large(4 << 20)], 256);
    let server = Server::bind(uri, catalog, options)?;
    println!("{}", server.uri());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.runtime().block_on(server.close(Duration::from_secs(1)));
    Ok(())
}

fn client_options(words: &[&str]) -> Result<ClientOptions, Failure> {
    let mut options = ClientOptions { locations: Locations::Inline, ..ClientOptions::default() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "roots" => {
                let roots = std::fs::read(words.next().unwrap_or(&""))?;
                options.tls = ClientTls { roots: Some(roots), ..ClientTls::default() };
            }
            "user" => {
                let mut next = || words.next().unwrap_or(&"").to_string();
                options.credentials = Credentials::Basic { user: next(), password: next() };
            }
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(options)
}

async fn one_call(call: &str, uri: &str, name: &str, options: ClientOptions) -> Result<(), Failure> {
    let each = CallOptions { deadline: Some(Duration::from_secs(60)), ..CallOptions::default() };
    let client = Client::connect(uri, options, &each).await?;
    let descriptor = Descriptor::name(name);
    match call {
        "list" => {
            for info in client.list(&each).await? {
                println!("{} rows={:?} endpoints={}", info.name().unwrap_or_default(), info.rows, info.endpoints.len());
            }
        }
        "info" => println!("{:?}", client.info(&descriptor, &each).await?),
        "schema" => println!("{}", client.schema(&descriptor, &each).await?),
        "get" => {
            let mut digest = Digest::default();
            for endpoint in client.info(&descriptor, &each).await?.endpoints {
                let mut get = client.get(endpoint.ticket, &each).await?;
                while let Some(batch) = get.next_batch().await? {
                    digest.add(&batch);
                }
            }
            digest.print();
        }
        "time" => {
            let mut best = f64::MAX;
            let mut bytes = 0;
            for _ in 0..3 {
                let endpoint = client.info(&descriptor, &each).await?.endpoints.swap_remove(0);
                let (start, mut all) = (Instant::now(), 0);
                let mut get = client.get(endpoint.ticket, &each).await?;
                while let Some(message) = get.next().await? {
                    all += message.body.len();
                }
                best = best.min(start.elapsed().as_secs_f64());
                bytes = all;
            }
            println!("{bytes} bytes, {best:.3} s, {:.2} GB/s", bytes as f64 / best / 1e9);
        }
        "put" => {
            let batches = support::numbers();
            let mut put = client.put(&descriptor, batches[0].schema(), &each).await?;
            for batch in &batches {
                put.send(batch, "").await?;
            }
            println!("{:?}", put.finish().await?);
        }
        "exchange" => {
            let batches = support::numbers();
            let mut exchange = client.exchange(&descriptor, batches[0].schema(), &each).await?;
            exchange.send(&batches[0], "").await?;
            exchange.done();
            let mut digest = Digest::default();
            while let Some(batch) = exchange.next_batch().await? {
                digest.add(&batch);
            }
            digest.print();
        }
        other => return Err(Box::new(FlightError::Setting(format!("unknown call {other}")))),
    }
    Ok(())
}

/// What two peers compare: rows, batches, and the text of every value.
#[derive(Default)]
struct Digest {
    batches: usize,
    rows: usize,
    schema: String,
}

impl Digest {
    fn add(&mut self, batch: &RecordBatch) {
        self.batches += 1;
        self.rows += batch.num_rows();
        self.schema = batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(",");
    }

    fn print(&self) {
        println!("batches={} rows={} columns={}", self.batches, self.rows, self.schema);
    }
}
