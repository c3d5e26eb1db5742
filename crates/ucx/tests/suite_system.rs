//! Every transport's promises, with the library of the system (Debian 12: 1.13.1).

mod suite;
mod support;

fn search() -> arrowlane_ucx::Search {
    support::system()
}
