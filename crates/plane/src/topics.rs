//! Asking publishers for their figures, as somebody who takes no part.

use std::time::{Duration, Instant};

use crate::{PlaneError, ticket::Ticket, topic::read_greeting};
use arrowlane_dissociated::{Fields, Metadata};
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    shm::{Folder, ShmEndpoint, ShmListener},
    system::wait_readable,
};

/// Bytes read at a time.
const BUDGET: usize = 256 << 10;
/// More answers than a publisher has subscribers.
const MAX_ANSWERS: usize = 4096;

/// What was found behind one file in the folder of sockets.
#[derive(Debug)]
pub struct TopicReport {
    /// The file's name.
    pub file: String,
    /// The topic, where its publisher greeted.
    pub topic: Option<String>,
    /// The process that listens, where the system says.
    pub pid: Option<u32>,
    /// Its figures.
    pub state: TopicState,
}

/// How a topic answered.
#[derive(Debug)]
pub enum TopicState {
    /// The topic's figures, then each subscriber's.
    Live(Vec<Fields>),
    /// Its process is gone; the file that it left was removed.
    Stale,
    /// It did not answer in time: it is busy, or stopped.
    Silent,
    /// It does not answer such questions, or broke the protocol.
    Strange(PlaneError),
}

/// The sockets of a folder, by file name.
///
/// # Errors
/// When the folder cannot be read.
pub fn topic_files(folder: &Folder) -> Result<Vec<String>, PlaneError> {
    let mut files = folder.files()?;
    files.retain(|file| !file.starts_with(SERVERS));
    files.sort();
    Ok(files)
}

/// How the names of files begin that are servers' and no topics.
const SERVERS: &str = "%40server-";

/// Asks the publisher behind a file for its figures. Blocks for `patience` at most: called off the event loop. Its
/// subscribers notice nothing.
pub fn ask_topic(folder: &Folder, file: &str, patience: Duration) -> TopicReport {
    let mut asked = Asked::default();
    let (pid, state) = match ShmListener::connect_file(folder, file) {
        Ok(mut endpoint) => (endpoint.peer(), asked.talk(&mut endpoint, Instant::now() + patience)),
        Err(TransportError::NotFound(_)) => {
            let cleared = ShmListener::clear(folder, file);
            (None, cleared.map_or_else(|error| TopicState::Strange(error.into()), |_| TopicState::Stale))
        }
        Err(TransportError::Busy(_)) => (None, TopicState::Silent),
        Err(error) => (None, TopicState::Strange(error.into())),
    };
    TopicReport { file: file.to_owned(), topic: asked.topic, pid, state }
}

/// What was heard so far.
#[derive(Default)]
struct Asked {
    topic: Option<String>,
    tag: Option<u64>,
    answers: Vec<Fields>,
    ended: bool,
    wrong: Option<PlaneError>,
}

impl Asked {
    fn talk(&mut self, endpoint: &mut ShmEndpoint, until: Instant) -> TopicState {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return TopicState::Silent;
            }
            wait_readable(endpoint.descriptor(), Some(left)); // what is there is looked at
            let received = endpoint.receive(BUDGET, self);
            if self.ended {
                return TopicState::Live(std::mem::take(&mut self.answers));
            }
            if let Some(wrong) = self.wrong.take() {
                return TopicState::Strange(wrong);
            }
            if let Err(error) = received {
                return TopicState::Strange(error.into());
            }
            if let Some(tag) = self.tag.take() {
                arrowlane_dissociated::Outbox::tagged(endpoint, tag, &[Ticket::statistics()]);
                if let Err(error) = endpoint.flush() {
                    return TopicState::Strange(error.into());
                }
            }
        }
    }

    fn said(&mut self, bytes: &[u8]) -> Result<(), PlaneError> {
        match Metadata::decode(bytes)? {
            Metadata::Notice { text, .. } if self.answers.len() < MAX_ANSWERS => {
                self.answers.push(Fields::parse(text)?)
            }
            Metadata::Error { code, message, .. } => {
                return Err(PlaneError::Remote { code: code.into(), message: message.into() });
            }
            Metadata::EndOfStream { .. } if !self.answers.is_empty() => self.ended = true,
            Metadata::Heartbeat { .. } => {}
            _ => return Err(TransportError::Framing("it answers something else than was asked".into()).into()),
        }
        Ok(())
    }

    fn failed(&mut self, error: PlaneError) -> TransportError {
        self.wrong = Some(error);
        TransportError::Closed
    }
}

impl Inbox for Asked {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        let (uri, tags) = read_greeting(uri, "shm").map_err(|error| self.failed(error))?;
        self.topic = uri.extra("topic").map(Into::into);
        self.tag = Some(tags.want_data_ext);
        Ok(())
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        if self.ended {
            return Ok(());
        }
        self.said(bytes).map_err(|error| self.failed(error))
    }

    fn tagged(&mut self, _tag: u64, _body: &[u8]) -> Result<(), TransportError> {
        Err(self.failed(TransportError::Framing("it answers something else than was asked".into()).into()))
    }

    fn retired(&mut self, _segment: u16) {}
}
