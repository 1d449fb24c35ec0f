//! Requests that wait for their answer, in the order in which a broker answers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;
use wire::frame::RequestStart;

/// What is due next on the way back.
#[derive(Debug)]
pub(crate) enum Due {
    /// The broker's answer to this request.
    Answer(RequestStart),
    /// A SASL token without a header, after SaslHandshake 0.
    Token,
    /// An answer of our own, size included.
    Local(Vec<u8>),
}

/// The queue between the two directions of one connection.
///
/// Brokers answer in order, so the front is what comes next. Our own answers stand in it too and
/// can't overtake. A Produce with acks=0 has no answer and never enters.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: Mutex<VecDeque<Due>>,
    local: Notify,
    emptied: Notify,
}

impl Pending {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Due>> {
        self.queue.lock().expect("nothing panics while it holds the queue")
    }

    pub(crate) fn push(&self, due: Due) {
        let local = matches!(due, Due::Local(_));
        self.queue().push_back(due);
        if local {
            self.local.notify_one();
        }
    }

    pub(crate) fn pop(&self) -> Option<Due> {
        let mut queue = self.queue();
        let due = queue.pop_front();
        if queue.is_empty() {
            self.emptied.notify_one();
        }
        due
    }

    /// Our own answer, where one stands at the front.
    pub(crate) fn pop_local(&self) -> Option<Vec<u8>> {
        if !matches!(self.queue().front(), Some(Due::Local(_))) {
            return None;
        }
        match self.pop() {
            Some(Due::Local(answer)) => Some(answer),
            _ => None,
        }
    }

    /// Waits until an answer of our own was pushed.
    pub(crate) async fn local(&self) {
        self.local.notified().await;
    }

    /// Waits until every request has its answer.
    pub(crate) async fn empty(&self) {
        while !self.queue().is_empty() {
            self.emptied.notified().await;
        }
    }
}
