//! Every transport's promises, with the newest library (the libucx-cu12 wheel).

mod suite;
mod support;

fn search() -> arrowlane_ucx::Search {
    support::newest()
}
