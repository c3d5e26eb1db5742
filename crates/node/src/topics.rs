//! This user's topics, for `arrowlane topics`.

use std::time::Duration;

use arrowlane_plane::{PlaneError, TopicReport, TopicState, ask_topic, topic_files};
use arrowlane_transport::shm::Folder;
use napi::{Env, ScopedTask, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    error::{Result, plane},
    lane::NativeLane,
};

/// What was found behind one socket.
#[napi(object)]
pub struct NativeTopic {
    pub topic: Option<String>,
    pub pid: Option<u32>,
    /// `live`, `stale`, `silent` or `strange`.
    pub state: String,
    /// Why it is strange.
    pub problem: Option<String>,
    /// The topic's figures, then each subscriber's: name, value, name, value….
    pub figures: Vec<Vec<String>>,
}

/// Asks one publisher off the loop.
pub struct AskTask {
    file: String,
    patience: Duration,
}

impl<'task> ScopedTask<'task> for AskTask {
    type Output = TopicReport;
    type JsValue = NativeTopic;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let asked = Folder::open_default().map(|folder| ask_topic(&folder, &self.file, self.patience));
        Ok(asked.unwrap_or_else(|error| TopicReport {
            file: self.file.clone(),
            topic: None,
            pid: None,
            state: TopicState::Strange(error.into()),
        }))
    }

    fn resolve(&mut self, _env: &'task Env, report: Self::Output) -> napi::Result<NativeTopic> {
        let (state, problem, figures) = match report.state {
            TopicState::Live(figures) => ("live", None, figures),
            TopicState::Stale => ("stale", None, Vec::new()),
            TopicState::Silent => ("silent", None, Vec::new()),
            TopicState::Strange(error) => ("strange", Some(error.to_string()), Vec::new()),
        };
        let figures =
            figures.iter().map(|fields| fields.iter().flat_map(|(n, v)| [n.to_owned(), v.to_owned()]).collect());
        Ok(NativeTopic {
            topic: report.topic,
            pid: report.pid,
            state: state.into(),
            problem,
            figures: figures.collect(),
        })
    }
}

#[napi]
impl NativeLane {
    /// The sockets in this user's folder, by file name.
    #[napi]
    pub fn topic_files(&self) -> Result<Vec<String>> {
        let folder = Folder::open_default().map_err(|e| plane(PlaneError::from(e)))?;
        topic_files(&folder).map_err(plane)
    }

    /// Asks the publisher behind a socket for its figures; waits so many milliseconds at most.
    #[napi(ts_return_type = "Promise<NativeTopic>")]
    pub fn ask_topic(&self, file: String, patience: f64) -> AsyncTask<AskTask> {
        AsyncTask::new(AskTask { file, patience: Duration::from_secs_f64(patience.clamp(1.0, 1e9) / 1000.0) })
    }
}
