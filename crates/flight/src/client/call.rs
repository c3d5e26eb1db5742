//! What bounds a call: a deadline and a cancellation.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::Failure;
use crate::{FlightError, Result};

/// What one call may take.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// For the whole call, of streams too. The service is told. Without, the client's `deadline` is for each answer.
    pub deadline: Option<Duration>,
    /// Ends the call. Never cancelled unless somebody keeps a clone of it and does.
    pub cancel: CancellationToken,
}

/// A call that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub name: &'static str,
    cancel: CancellationToken,
    /// When all of it must be over.
    end: Option<(Instant, Duration)>,
    /// How long the service may say nothing.
    patience: Duration,
}

impl Call {
    pub fn begin(name: &'static str, options: &CallOptions, patience: Duration) -> Self {
        let end = options.deadline.and_then(|after| Some((Instant::now().checked_add(after)?, after)));
        Self { name, cancel: options.cancel.clone(), end, patience }
    }

    /// What is left until the deadline that the caller gave.
    pub fn left(&self) -> Option<Duration> {
        self.end.map(|(end, _)| end.saturating_duration_since(Instant::now()))
    }

    /// From now on the service may say nothing for as long as the deadline allows.
    pub fn wait_for_ever(&mut self) {
        self.patience = Duration::MAX;
    }

    /// Waits for an answer, or for a reason not to.
    pub async fn run<T, F>(&self, work: F) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let silent = || FlightError::Silent { call: self.name, milliseconds: milliseconds(self.patience) };
        let late = |given| FlightError::Deadline { call: self.name, milliseconds: milliseconds(given) };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(FlightError::Cancelled { call: self.name }),
            result = work => result.map_err(|failure| match (failure, self.end) {
                (Failure::Other(error), _) => error,
                // Whoever noticed first: it is the same deadline.
                (Failure::Status(status), Some((end, given))) if was_late(&status) && end <= Instant::now() => late(given),
                (Failure::Status(status), _) => FlightError::status(self.name, &status),
            }),
            error = async {
                match self.end {
                    Some((end, given)) => {
                        tokio::time::sleep_until(end).await;
                        late(given)
                    }
                    None => {
                        tokio::time::sleep(self.patience).await;
                        silent()
                    }
                }
            } => Err(error),
        }
    }
}

/// The library reports a deadline that it noticed itself as a cancellation.
fn was_late(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
}
