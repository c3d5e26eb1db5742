//! Who gets in, and over which kind of connection.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use arrowlane_flight::{
    CallOptions, Client, ClientOptions, ClientTls, Credentials, Descriptor, Runtime, Server, ServerOptions, ServerTls,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use support::{Guard, Memory, numbers};

fn each() -> CallOptions {
    CallOptions { deadline: Some(Duration::from_secs(60)), ..CallOptions::default() }
}

fn serve(uri: &str, options: ServerOptions) -> Server {
    Server::bind(uri, Memory::with([("numbers", numbers())]), options).unwrap()
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    Runtime::shared().unwrap().block_on(work)
}

fn certificate() -> (Vec<u8>, Vec<u8>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (cert.pem().into_bytes(), signing_key.serialize_pem().into_bytes())
}

async fn rows(client: &Client) -> arrowlane_flight::Result<usize> {
    let info = client.info(&Descriptor::name("numbers"), &each()).await?;
    let mut get = client.get(info.endpoints[0].ticket.clone(), &each()).await?;
    let mut rows = 0;
    while let Some(batch) = get.next_batch().await? {
        rows += batch.num_rows();
    }
    Ok(rows)
}

#[test]
fn a_caller_is_who_the_hook_says_and_nobody_else_gets_in() {
    let server =
        serve("grpc://localhost:0", ServerOptions { authenticate: Some(Arc::new(Guard)), ..ServerOptions::default() });
    on_runtime(async {
        let with = async |credentials| {
            let options = ClientOptions { credentials, ..ClientOptions::default() };
            Client::connect(server.uri(), options, &each()).await
        };
        let basic = |user: &str, password: &str| Credentials::Basic { user: user.into(), password: password.into() };
        for known in [basic("ada", "lovelace"), Credentials::Bearer("secret".into())] {
            assert_eq!(rows(&with(known).await.unwrap()).await.unwrap(), 1003);
        }
        assert_eq!(with(basic("ada", "wrong")).await.err().unwrap().code(), "ERR_UNAUTHENTICATED");
        for unknown in [Credentials::None, Credentials::Bearer("x".into())] {
            let client = with(unknown).await.unwrap();
            let refused = [
                client.list(&each()).await.err().unwrap(),
                client.info(&Descriptor::name("numbers"), &each()).await.err().unwrap(),
                client.schema(&Descriptor::name("numbers"), &each()).await.err().unwrap(),
                client.actions(&each()).await.err().unwrap(),
                client.get("t", &each()).await.err().unwrap(),
                // A refusal may come before the first message was sent, or after.
                match client.put(&Descriptor::name("n"), numbers()[0].schema(), &each()).await {
                    Ok(put) => put.finish().await.err().unwrap(),
                    Err(error) => error,
                },
                match client.exchange(&Descriptor::name("echo"), numbers()[0].schema(), &each()).await {
                    Ok(mut exchange) => exchange.next_batch().await.err().unwrap(),
                    Err(error) => error,
                },
            ];
            for error in refused {
                assert_eq!(error.code(), "ERR_UNAUTHENTICATED", "{error}");
            }
        }
    });
}

#[test]
fn a_server_that_asks_nobody_takes_any_credentials() {
    let server = serve("grpc+tcp://127.0.0.1:0", ServerOptions::default());
    on_runtime(async {
        let credentials = Credentials::Basic { user: "anybody".into(), password: "x".into() };
        let options = ClientOptions { credentials, ..ClientOptions::default() };
        assert_eq!(rows(&Client::connect(server.uri(), options, &each()).await.unwrap()).await.unwrap(), 1003);
    });
}

#[test]
fn over_tls_a_client_trusts_the_roots_that_it_was_given_and_no_others() {
    let (certificate_pem, key) = certificate();
    let tls = ServerTls { certificate: certificate_pem.clone(), key, client_roots: None };
    let server = serve("grpc+tls://localhost:0", ServerOptions { tls: Some(tls), ..ServerOptions::default() });
    assert!(server.uri().starts_with("grpc+tls://localhost:"));
    on_runtime(async {
        let with = async |uri: &str, roots: Option<Vec<u8>>, name: Option<&str>| {
            let tls = ClientTls { roots, name: name.map(Into::into), identity: None };
            Client::connect(uri, ClientOptions { tls, ..ClientOptions::default() }, &each()).await
        };
        let client = with(server.uri(), Some(certificate_pem.clone()), None).await.unwrap();
        assert_eq!(rows(&client).await.unwrap(), 1003);
        let by_address = server.uri().replace("localhost", "127.0.0.1");
        let named = with(&by_address, Some(certificate_pem.clone()), Some("localhost")).await;
        // `localhost` may have been bound to its other address.
        if let Ok(client) = named {
            assert_eq!(rows(&client).await.unwrap(), 1003);
            assert_eq!(with(&by_address, Some(certificate_pem), None).await.err().unwrap().code(), "ERR_CONNECTION");
        }
        let (other, _) = certificate();
        for roots in [Some(other), None] {
            let error = with(server.uri(), roots, None).await.err().unwrap();
            assert_eq!(error.code(), "ERR_CONNECTION", "{error}");
        }
        let plain = server.uri().replace("grpc+tls", "grpc+tcp");
        let options = CallOptions { deadline: Some(Duration::from_secs(20)), ..CallOptions::default() };
        let client = Client::connect(&plain, ClientOptions::default(), &options).await;
        if let Ok(client) = client {
            assert!(client.list(&options).await.is_err());
        }
    });
}

#[test]
fn a_server_that_wants_certificates_takes_no_client_without() {
    let (certificate_pem, key) = certificate();
    let (own, own_key) = certificate();
    let tls = ServerTls { certificate: certificate_pem.clone(), key, client_roots: Some(own.clone()) };
    let server = serve("grpc+tls://localhost:0", ServerOptions { tls: Some(tls), ..ServerOptions::default() });
    on_runtime(async {
        let with = async |identity| {
            let tls = ClientTls { roots: Some(certificate_pem.clone()), name: None, identity };
            let client =
                Client::connect(server.uri(), ClientOptions { tls, ..ClientOptions::default() }, &each()).await?;
            rows(&client).await
        };
        assert_eq!(with(Some((own, own_key))).await.unwrap(), 1003);
        assert!(with(None).await.is_err());
        assert!(with(Some(certificate())).await.is_err());
    });
}

#[test]
fn an_address_and_its_encryption_have_to_agree() {
    let (certificate, key) = certificate();
    let tls = Some(ServerTls { certificate, key, client_roots: None });
    let bind = |uri: &str, tls| {
        let options = ServerOptions { tls, ..ServerOptions::default() };
        Server::bind(uri, Memory::with([("numbers", numbers())]), options).map(|_| ())
    };
    assert!(bind("grpc+tls://127.0.0.1:0", None).is_err());
    assert!(bind("grpc+tcp://127.0.0.1:0", tls).is_err());
    let damaged = Some(ServerTls { certificate: b"x".to_vec(), key: b"y".to_vec(), client_roots: None });
    assert!(bind("grpc+tls://127.0.0.1:0", damaged).is_err());
    for uri in ["http://127.0.0.1:0", "grpc+tcp://127.0.0.1", "grpc+tcp://240.0.0.1:1"] {
        assert!(bind(uri, None).is_err(), "{uri}");
    }
}
