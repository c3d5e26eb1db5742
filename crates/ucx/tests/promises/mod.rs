//! What holds with every library, beside the suite. The root of the test says which (`crate::search`). One test at a time: they count memory.

mod bodies;
mod closed;
mod death;
