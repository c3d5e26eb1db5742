//! pyarrow at the other end, both ways. Needs `ARROWLANE_PYTHON`, a Python with pyarrow; without it these tests say so and pass.
#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrowlane_flight::{
    CallOptions, Client, ClientOptions, ClientTls, Credentials, Descriptor, Locations, Runtime, Server, ServerOptions,
    ServerTls, Shape,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use support::{Guard, Memory, numbers, words};

fn python() -> Option<OsString> {
    let python = std::env::var_os("ARROWLANE_PYTHON");
    if python.is_none() {
        eprintln!("skipped: ARROWLANE_PYTHON names no Python with pyarrow");
    }
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name)
}

fn each() -> CallOptions {
    CallOptions { deadline: Some(Duration::from_secs(60)), ..CallOptions::default() }
}

/// A certificate for localhost, as files.
struct Certificate {
    folder: tempfile::TempDir,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (cert.pem().into_bytes(), signing_key.serialize_pem().into_bytes());
        std::fs::write(folder.path().join("certificate.pem"), &certificate).unwrap();
        std::fs::write(folder.path().join("key.pem"), &key).unwrap();
        Self { folder, certificate, key }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn server(&self) -> ServerTls {
        ServerTls { certificate: self.certificate.clone(), key: self.key.clone(), client_roots: None }
    }
}

/// Runs pyarrow's client against a server of ours; what it printed last.
fn their_client(python: &OsString, uri: &str, options: ServerOptions, mode: &str, roots: Option<&str>) -> String {
    let catalog = Memory::with([("numbers", numbers()), ("words", words())]);
    let server = Server::bind(uri, catalog, options).unwrap();
    let output = Command::new(python)
        .arg(script("client.py"))
        .args([server.uri(), mode])
        .args(roots)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn pyarrow_lists_describes_fetches_puts_and_exchanges() {
    let Some(python) = python() else { return };
    let with = |locations| ServerOptions { locations, ..ServerOptions::default() };
    assert_eq!(their_client(&python, "grpc+tcp://127.0.0.1:0", with(Locations::Inline), "plain", None), "ok");
}

#[test]
fn pyarrow_is_who_its_credentials_say_in_either_kind_of_handshake() {
    let Some(python) = python() else { return };
    let options = ServerOptions { authenticate: Some(Arc::new(Guard)), ..ServerOptions::default() };
    for (mode, said) in [("token", "ok"), ("handler", "ok"), ("nobody", "refused")] {
        assert_eq!(their_client(&python, "grpc://127.0.0.1:0", options.clone(), mode, None), said, "{mode}");
    }
}

#[test]
fn pyarrow_comes_over_tls() {
    let Some(python) = python() else { return };
    let certificate = Certificate::new();
    let options = ServerOptions {
        tls: Some(certificate.server()),
        authenticate: Some(Arc::new(Guard)),
        ..ServerOptions::default()
    };
    let roots = certificate.path("certificate.pem");
    assert_eq!(their_client(&python, "grpc+tls://localhost:0", options, "token", Some(&roots)), "ok");
}

/// A server of pyarrow's. Ends when it is dropped.
struct Theirs {
    process: Child,
    port: u16,
}

impl Theirs {
    fn start(python: &OsString, arguments: &[&str]) -> Self {
        let mut process = Command::new(python)
            .arg(script("server.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, port: line.trim().parse().unwrap() }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn checked(client: &Client) {
    let infos = client.list(&each()).await.unwrap();
    assert_eq!(infos.len(), 3);
    let info = client.info(&Descriptor::name("table"), &each()).await.unwrap();
    assert_eq!((info.rows, info.bytes), (Some(10_000), None));
    let endpoint = &info.endpoints[0];
    assert!(endpoint.is_here());
    assert_eq!(endpoint.elsewhere().collect::<Vec<_>>(), ["grpc+tcp://127.0.0.1:1"]);
    assert_eq!(Some(client.schema(&Descriptor::name("table"), &each()).await.unwrap()), info.schema);
    for ticket in [endpoint.ticket.clone(), "compressed".into()] {
        let mut get = client.get(ticket, &each()).await.unwrap();
        let mut id = 0;
        while let Some(batch) = get.next_batch().await.unwrap() {
            let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().clone();
            let texts = batch.column_by_name("text").unwrap().as_string::<i32>().clone();
            let words = words_of(batch.column_by_name("word").unwrap());
            for (row, word) in words.iter().enumerate() {
                assert_eq!(ids.value(row), id);
                assert_eq!(texts.iter().nth(row).unwrap(), (id % 3 != 0).then(|| format!("text {id}")).as_deref());
                assert_eq!(word.as_deref(), [Some("alpha"), Some("beta"), None, Some("delta")][id as usize % 4]);
                id += 1;
            }
        }
        assert_eq!(id, 10_000);
    }
    let empty = client.info(&Descriptor::name("empty"), &each()).await.unwrap();
    let Shape::Split { metadata, data } = empty.endpoints[0].shape() else { panic!("{empty:?}") };
    assert_eq!((metadata.want_data, data.want_data), (1, 2));
    let mut get = client.get(empty.endpoints[0].ticket.clone(), &each()).await.unwrap();
    assert_eq!(get.schema(), empty.schema);
    while let Some(batch) = get.next_batch().await.unwrap() {
        assert_eq!(batch.num_rows(), 0);
    }
    for (name, batches) in [("numbers", numbers()), ("words", words())] {
        let mut put = client.put(&Descriptor::name(name), batches[0].schema(), &each()).await.unwrap();
        for batch in &batches {
            put.send(batch, "m").await.unwrap();
        }
        assert_eq!(put.finish().await.unwrap(), vec!["m"; batches.len()]);
        let mut get = client.get(format!("ticket of {name}"), &each()).await.unwrap();
        let mut back = Vec::new();
        while let Some(batch) = get.next_batch().await.unwrap() {
            back.push(batch);
        }
        assert_eq!(back, batches);
    }
    let batches = numbers();
    let mut exchange = client.exchange(&Descriptor::name("any"), batches[0].schema(), &each()).await.unwrap();
    exchange.send(&batches[0], "").await.unwrap();
    exchange.done();
    assert_eq!(exchange.next_batch().await.unwrap().unwrap(), batches[0]);
    assert!(exchange.next_batch().await.unwrap().is_none());
    assert_eq!(client.actions(&each()).await.unwrap()[0].0, "reverse");
    assert_eq!(client.get("ticket of nothing", &each()).await.err().unwrap().code(), "ERR_NOT_FOUND");
}

fn words_of(column: &arrow_array::ArrayRef) -> Vec<Option<String>> {
    let dictionary = column.as_any_dictionary();
    let values = dictionary.values().as_string::<i32>();
    let keys = dictionary.normalized_keys();
    let text = |row: usize| (!arrow_array::Array::is_null(column, row)).then(|| values.value(keys[row]).to_owned());
    (0..keys.len()).map(text).collect()
}

#[test]
fn a_server_of_pyarrow_s_is_listed_described_fetched_from_and_put_to() {
    let Some(python) = python() else { return };
    let theirs = Theirs::start(&python, &["plain"]);
    Runtime::shared().unwrap().block_on(async {
        let uri = format!("grpc+tcp://127.0.0.1:{}", theirs.port);
        checked(&Client::connect(&uri, ClientOptions::default(), &each()).await.unwrap()).await;
    });
}

#[test]
fn a_server_of_pyarrow_s_lets_us_in_over_tls_with_credentials_and_not_without() {
    let Some(python) = python() else { return };
    let certificate = Certificate::new();
    let theirs = Theirs::start(&python, &["auth", &certificate.path("certificate.pem"), &certificate.path("key.pem")]);
    Runtime::shared().unwrap().block_on(async {
        let uri = format!("grpc+tls://localhost:{}", theirs.port);
        let with = async |credentials| {
            let tls = ClientTls { roots: Some(certificate.certificate.clone()), ..ClientTls::default() };
            let options = ClientOptions { tls, credentials, ..ClientOptions::default() };
            Client::connect(&uri, options, &each()).await
        };
        let ada = Credentials::Basic { user: "ada".into(), password: "lovelace".into() };
        checked(&with(ada).await.unwrap()).await;
        let wrong = Credentials::Basic { user: "ada".into(), password: "x".into() };
        assert_eq!(with(wrong).await.err().unwrap().code(), "ERR_UNAUTHENTICATED");
        let nobody = with(Credentials::None).await.unwrap();
        assert_eq!(nobody.list(&each()).await.err().unwrap().code(), "ERR_UNAUTHENTICATED");
    });
}
