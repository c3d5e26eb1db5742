//! A process that finds no library. In a file of its own: a process has one.
#![allow(clippy::expect_used)]

use arrowlane_transport::{Transport, TransportError};
use arrowlane_ucx::{Options, Search, UcxTransport};

#[test]
fn without_a_library_the_error_says_what_to_install() {
    let folder = tempfile::tempdir().expect("a folder");
    let search = Search { explicit: Some(folder.path().into()), bundled: None };
    let transport = UcxTransport::new(Options { search, ..Options::default() });
    let address = url::Url::parse("ucx://127.0.0.1:0").expect("a URL");
    let error = transport.listen(&address).err().expect("no library");
    assert!(matches!(error, TransportError::Unavailable { scheme: "ucx", .. }), "{error}");
    assert!(error.to_string().contains("apt install libucx0"), "{error}");
    assert!(transport.probe().is_err());
}
