use proptest::prelude::*;

use super::*;

#[test]
fn a_uri_is_read_and_written_to_the_letter() {
    let text = "ucx://[::1]:1234/a%20b?want_data=18446744073709551615&free_data=7&want_data_ext=8&remote_handle=AAEC_w&boot=x%26y&nonce=%2B";
    let uri = DataUri::parse(text).unwrap();
    assert_eq!(uri.scheme, "ucx");
    assert_eq!((uri.host.as_deref(), uri.port), (Some("[::1]"), Some(1234)));
    assert_eq!(uri.path, "/a b");
    assert_eq!(uri.want_data, u64::MAX);
    assert_eq!((uri.free_data, uri.want_data_ext), (Some(7), Some(8)));
    assert_eq!(uri.remote_handle.as_deref(), Some(&[0, 1, 2, 255][..]));
    assert_eq!((uri.extra("boot"), uri.extra("nonce"), uri.extra("none")), (Some("x&y"), Some("+"), None));
    assert_eq!(uri.to_string(), text);
}

#[test]
fn a_shared_memory_uri_always_has_its_slashes() {
    let uri =
        DataUri { scheme: "shm".into(), path: "/run/user/0/ä b?#%41".into(), want_data: 1, ..DataUri::default() };
    let text = uri.to_string();
    assert!(text.starts_with("shm:///run/user/0/"), "{text}");
    assert_eq!(DataUri::parse(&text).unwrap(), uri);
    assert!(DataUri::parse("shm:x?want_data=1").is_err());
    assert!(DataUri::parse("shm:/x?want_data=1").is_err());
}

#[test]
fn handles_are_read_in_both_alphabets_padded_or_not_percent_encoded_or_not() {
    for text in ["-_8", "-_8=", "+/8=", "+/8", "%2B%2F8%3D", "%2B/8"] {
        let uri = DataUri::parse(&format!("ucx://h:1?want_data=1&remote_handle={text}")).unwrap();
        assert_eq!(uri.remote_handle.unwrap(), [0xfb, 0xff], "{text}");
    }
    for text in ["a", "a!bc", "ab=c"] {
        assert!(DataUri::parse(&format!("ucx://h:1?want_data=1&remote_handle={text}")).is_err());
    }
}

#[test]
fn tags_are_unsigned_decimals_of_64_bits_and_nothing_else() {
    for tag in ["", "-1", "+1", "%2B1", "1.0", "0x1", "18446744073709551616", "%201", "1\n2", "٣"] {
        assert!(DataUri::parse(&format!("shm:///x?want_data={tag}")).is_err(), "{tag:?}");
    }
    assert!(DataUri::parse("shm:///x").is_err(), "want_data is needed");
    assert!(DataUri::parse("shm:///x?want_data=1&want_data=1").is_err());
    assert!(DataUri::parse("shm:///x?want_data=1#f").is_err());
    assert!(DataUri::parse("ucx://u:p@h:1?want_data=1").is_err());
    assert!(DataUri::parse("").is_err());
    assert!(DataUri::parse("shm:///x?want_data=1\n").is_err());
}

#[test]
fn both_locations_of_the_examples_endpoint_are_read_and_differ_in_their_tags_alone() {
    // As its Flight server returns them: one endpoint, the metadata's location first.
    let metadata = DataUri::parse("ucx://127.0.0.1:40123?want_data=9223372036854775809").unwrap();
    let data =
        DataUri::parse("ucx://127.0.0.1:40123?want_data=9223372036854775810&free_data=0&remote_handle=AQID").unwrap();
    assert_eq!((metadata.want_data, data.want_data), ((1 << 63) + 1, (1 << 63) + 2));
    assert_eq!((metadata.free_data, data.free_data), (None, Some(0)), "a tag of 0 is one, none is none");
    assert_eq!((metadata.want_data_ext, data.want_data_ext), (None, None), "it is a plain server");
    assert_eq!(data.remote_handle.as_deref(), Some(&[1, 2, 3][..]));
    assert_eq!((&metadata.host, metadata.port, &*metadata.path), (&data.host, data.port, ""));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), query in any::<String>()) {
        let _ = DataUri::parse(&text);
        let _ = DataUri::parse(&format!("shm:///{text}?want_data=1&remote_handle={query}"));
        let _ = DataUri::parse(&format!("ucx://{text}?{query}"));
    }

    #[test]
    fn what_is_written_is_read_back(
        tags in any::<(u64, Option<u64>, Option<u64>)>(),
        handle in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..70)),
        name in "[a-z]{1,8}", extra in any::<String>(),
    ) {
        let uri = DataUri {
            scheme: "shm".into(),
            path: format!("/{name}"),
            want_data: tags.0,
            free_data: tags.1,
            want_data_ext: tags.2,
            remote_handle: handle,
            extra: vec![(format!("x_{name}"), extra)],
            ..DataUri::default()
        };
        prop_assert_eq!(DataUri::parse(&uri.to_string()).unwrap(), uri);
    }
}
