//! Requests that wait for their answer, in the order in which a broker answers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use wire::frame::RequestStart;

/// What is due next on the way back.
#[derive(Debug)]
pub(crate) enum Due {
    /// The broker's answer to this request.
    Answer(RequestStart),
    /// The same to a Produce request of which we kept partitions back.
    Rejected(RequestStart, Vec<Rejection>),
    /// A SASL token without a header, after SaslHandshake 0.
    Token,
    /// An answer of our own, size included.
    Local(Vec<u8>),
    /// The broker's answer to a request of our own, without its size.
    Own(oneshot::Sender<Bytes>),
}

/// A partition of a Produce request that was kept from the broker.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// As the request named it: a name or an id.
    pub(crate) topic: Vec<u8>,
    pub(crate) partition: i32,
    pub(crate) message: String,
}

/// The queue between the two directions of one connection.
///
/// Brokers answer in order, so the front is what comes next. Our own answers stand in it too and
/// can't overtake. A Produce with acks=0 has no answer and never enters.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: Mutex<Queue>,
    local: Notify,
    answered: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    due: VecDeque<Due>,
    /// Whether an answer was taken from the queue and is on its way to the client.
    under_way: bool,
}

impl Pending {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while it holds the queue")
    }

    pub(crate) fn push(&self, due: Due) {
        let local = matches!(due, Due::Local(_));
        self.queue().due.push_back(due);
        if local {
            self.local.notify_one();
        }
    }

    /// Takes what is due next; the one taken before has been answered by now.
    pub(crate) fn pop(&self) -> Option<Due> {
        let mut queue = self.queue();
        let due = queue.due.pop_front();
        queue.under_way = due.is_some();
        if due.is_none() {
            self.answered.notify_one();
        }
        due
    }

    /// Our own answer, where one stands at the front.
    pub(crate) fn pop_local(&self) -> Option<Vec<u8>> {
        {
            let mut queue = self.queue();
            if !matches!(queue.due.front(), Some(Due::Local(_))) {
                queue.under_way = false;
                self.answered.notify_one();
                return None;
            }
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

    /// Whether every request has its answer.
    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.queue();
        queue.due.is_empty() && !queue.under_way
    }

    /// Waits until every request has its answer, and the client has it whole.
    pub(crate) async fn answered(&self) {
        while !self.is_empty() {
            self.answered.notified().await;
        }
    }
}
