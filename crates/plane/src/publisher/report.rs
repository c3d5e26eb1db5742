//! What a publisher says of itself: to its owner, and to whoever asks over a socket (`arrowlane topics` does).

use arrowlane_dissociated::Fields;

use super::{
    ConnectionId, LeaseStatistics, Publisher, PublisherStatistics, State, SubscriberStatistics, connection::Connection,
};

impl Publisher {
    /// Its figures at this moment.
    pub fn statistics(&self) -> PublisherStatistics {
        let mut state = self.state.lock();
        self.collect(&mut state);
        let pool = self.pool.statistics();
        PublisherStatistics {
            subscribers: state.connections.values().filter(|c| c.takes_part()).count(),
            bytes_in_use: pool.used,
            capacity: pool.capacity,
            leases: state.connections.values().map(Connection::leases).sum(),
        }
    }

    /// One entry for each subscriber that takes part, or that holds leases still.
    pub fn subscriptions(&self) -> Vec<SubscriberStatistics> {
        let mut state = self.state.lock();
        self.collect(&mut state);
        Self::list(&state)
    }

    /// One entry for each batch that a subscriber holds or has not taken yet: subscriber by subscriber, the oldest first.
    pub fn leases(&self) -> Vec<LeaseStatistics> {
        let mut state = self.state.lock();
        self.collect(&mut state);
        state.connections.iter().flat_map(|(id, connection)| connection.lent(*id)).collect()
    }

    fn list(state: &State) -> Vec<SubscriberStatistics> {
        state.connections.iter().filter_map(|(id, connection)| connection.statistics(*id)).collect()
    }

    /// The answer to a question for figures: the topic's, then each subscriber's.
    pub(super) fn report(&self, state: &State) -> Vec<Fields> {
        let subscribers = Self::list(state);
        let pool = self.pool.statistics();
        let mut topic = Fields::default();
        topic.push("topic", &self.topic);
        topic.push("pid", std::process::id());
        topic.push("up_ms", self.started.elapsed().as_millis());
        topic.push("batches", state.batches);
        topic.push("bytes", state.bytes);
        topic.push("bytes_in_use", pool.used);
        topic.push("capacity", pool.capacity);
        topic.push("subscribers", subscribers.len());
        std::iter::once(topic).chain(subscribers.iter().map(describe)).collect()
    }

    pub(super) fn answer(&self, state: &mut State, id: ConnectionId) {
        self.collect(state);
        let report = self.report(state);
        if let Some(connection) = state.connections.get_mut(&id) {
            connection.answer(&report);
        }
    }
}

fn describe(subscriber: &SubscriberStatistics) -> Fields {
    let mut fields = Fields::default();
    fields.push("subscriber", subscriber.id);
    if let Some(pid) = subscriber.pid {
        fields.push("pid", pid);
    }
    fields.push("standing", subscriber.standing.name());
    subscriber.policy.describe(&mut fields);
    fields.push("sent", subscriber.sent);
    fields.push("sent_bytes", subscriber.sent_bytes);
    fields.push("dropped", subscriber.dropped);
    fields.push("waited", subscriber.waited);
    fields.push("waited_ms", subscriber.waited_for.as_millis());
    fields.push("in_flight", subscriber.in_flight);
    fields.push("queued", subscriber.queued);
    fields.push("leases", subscriber.leases);
    fields.push("held_bytes", subscriber.bytes);
    if let Some(oldest) = subscriber.oldest {
        fields.push("oldest_ms", oldest.as_millis());
    }
    fields
}
