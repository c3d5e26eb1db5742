//! One test alone in its process: it counts threads.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use arrowlane_flight::{CallOptions, Client, ClientOptions, Runtime, Server, ServerOptions};
use support::{Memory, numbers};

fn threads() -> usize {
    let named = |path: std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let all = std::fs::read_dir("/proc/self/task").unwrap();
    all.filter(|entry| named(entry.as_ref().unwrap().path()).starts_with("al-flight")).count()
}

#[test]
fn there_are_threads_only_while_somebody_uses_them() {
    assert_eq!(threads(), 0);
    for _ in 0..2 {
        let server =
            Server::bind("grpc://127.0.0.1:0", Memory::with([("numbers", numbers())]), ServerOptions::default())
                .unwrap();
        let runtime = Runtime::shared().unwrap();
        let client = runtime.block_on(async {
            let client =
                Client::connect(server.uri(), ClientOptions::default(), &CallOptions::default()).await.unwrap();
            client.list(&CallOptions::default()).await.unwrap();
            client
        });
        // A thread has its name a moment after it started.
        wait_until(|| threads() >= 2, "threads are missing");
        runtime.block_on(server.close(Duration::ZERO));
        drop((server, runtime));
        assert!(threads() >= 2, "the client still uses them");
        drop(client);
        wait_until(|| threads() == 0, "threads are left");
    }
}

fn wait_until(done: impl Fn() -> bool, otherwise: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "{otherwise}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
