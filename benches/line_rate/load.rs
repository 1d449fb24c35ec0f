//! The load generator.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::PIPELINE;
use crate::broker::Identity;
use crate::messages::Exchange;

/// What is sent where.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) address: &'a str,
    pub(crate) exchange: &'a Arc<Exchange>,
    pub(crate) connections: usize,
    /// Whose certificate is trusted, with TLS.
    pub(crate) trust: Option<&'a Identity>,
    /// About so many bytes in all.
    pub(crate) bytes: u64,
    /// Bytes a second and connection; without, as fast as it goes.
    pub(crate) pace: Option<f64>,
}

/// Gives how long it took, and each request's time from when it was due to its answer.
pub(crate) fn load(what: &Load<'_>) -> (Duration, Vec<Duration>) {
    let size = what.exchange.bytes();
    let count = (what.bytes / what.connections as u64 / size as u64).max(2);
    let gap = what.pace.map(|it| Duration::from_secs_f64(size as f64 / it));
    let streams: Vec<TcpStream> = (0..what.connections)
        .map(|_| TcpStream::connect(what.address).expect("it listens"))
        .collect();
    let start = Instant::now();
    let workers = streams.into_iter().map(|stream| {
        stream.set_nodelay(true).expect("it is a TCP socket");
        let exchange = Arc::clone(what.exchange);
        let trust = what.trust.cloned();
        std::thread::spawn(move || match trust {
            None => both_ways(stream, &exchange.request, count, gap, start),
            Some(identity) => {
                in_turns(identity.connect(stream), &exchange.request, count, gap, start)
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    let latencies = workers.into_iter().flat_map(|it| it.join().expect("a client ends")).collect();
    (start.elapsed(), latencies)
}

/// When a request is due; waits for that.
fn due(number: u64, gap: Option<Duration>, start: Instant) -> Instant {
    let Some(gap) = gap else { return Instant::now() };
    let due = start + gap * number as u32;
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    due
}

/// One thread writes, another reads.
fn both_ways(
    stream: TcpStream,
    request: &[u8],
    count: u64,
    gap: Option<Duration>,
    start: Instant,
) -> Vec<Duration> {
    let answered = Arc::new(AtomicU64::new(0));
    let (mut writer, mut reader) = (stream.try_clone().expect("a socket can be cloned"), stream);
    let seen = Arc::clone(&answered);
    let (due_in, due_out) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut latencies = Vec::with_capacity(count as usize);
        let mut answer = Vec::new();
        for due in due_out {
            read_frame(&mut reader, &mut answer).expect("every request is answered");
            seen.fetch_add(1, Ordering::Release);
            latencies.push(Instant::now().saturating_duration_since(due));
        }
        latencies
    });
    for number in 0..count {
        let due = due(number, gap, start);
        while number - answered.load(Ordering::Acquire) >= PIPELINE as u64 {
            std::thread::sleep(Duration::from_micros(50));
        }
        due_in.send(due).expect("the reader runs");
        writer.write_all(request).expect("the other side reads");
    }
    drop(due_in);
    reading.join().expect("the reader ends")
}

/// One thread does both, because a TLS connection is one state: it reads once enough requests are on
/// their way, or at once where it keeps a pace.
fn in_turns(
    mut stream: impl Read + Write,
    request: &[u8],
    count: u64,
    gap: Option<Duration>,
    start: Instant,
) -> Vec<Duration> {
    let most = if gap.is_some() { 1 } else { PIPELINE };
    let mut latencies = Vec::with_capacity(count as usize);
    let mut on_their_way = std::collections::VecDeque::new();
    let mut answer = Vec::new();
    for number in 0..count {
        let due = due(number, gap, start);
        stream.write_all(request).and_then(|()| stream.flush()).expect("the other side reads");
        on_their_way.push_back(due);
        while on_their_way.len() >= most || (number + 1 == count && !on_their_way.is_empty()) {
            read_frame(&mut stream, &mut answer).expect("every request is answered");
            let due = on_their_way.pop_front().expect("it was asked");
            latencies.push(Instant::now().saturating_duration_since(due));
        }
    }
    latencies
}

pub(crate) fn read_frame(stream: &mut impl Read, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    buffer.resize(i32::from_be_bytes(size) as usize, 0);
    stream.read_exact(buffer)
}
