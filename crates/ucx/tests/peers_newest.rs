//! What UCX adds to every transport's promises, with the newest library (the libucx-cu12 wheel).

mod promises;
mod support;

fn search() -> arrowlane_ucx::Search {
    support::newest()
}
