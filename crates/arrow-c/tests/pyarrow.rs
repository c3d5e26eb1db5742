//! pyarrow as an independent implementation, in one process with this crate; see interop/python/arrow_c_peer.py.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that `cargo test` builds from examples/arrow_c_peer.rs: `<target>/<profile>/examples`, beside `deps`.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = format!("{}arrow_c_peer{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    profile.join("examples").join(name)
}

#[test]
fn every_type_goes_to_pyarrow_and_back_in_place_and_is_released_once() {
    let Some(python) = std::env::var_os("ARROWLANE_PYTHON") else {
        let required = ["CI", "ARROWLANE_REQUIRE_PYARROW"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!required, "ARROWLANE_PYTHON must name a Python with pyarrow; `npm test` prepares one");
        println!("skipped: ARROWLANE_PYTHON is not set (a Python with pyarrow; `npm test` prepares one)");
        return;
    };
    let library = library();
    assert!(
        library.exists(),
        "{} is missing; run `cargo test -p arrowlane-arrow-c` without --test, or `cargo build -p arrowlane-arrow-c --examples` first",
        library.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop/python/arrow_c_peer.py");
    let output = Command::new(python).arg(script).arg(library).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    println!("{}", text.lines().last().unwrap_or_default());
}
