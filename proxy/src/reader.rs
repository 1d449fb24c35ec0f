//! Frames from a socket.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::pool::Pooled;

/// What a connection holds for each direction while it is idle.
const SMALL: usize = 16 * 1024;
/// The most that is read at once into a frame that is gathered whole.
const LARGE: usize = 1 << 20;

/// Reads frames: a size of four bytes, then that many.
#[derive(Debug)]
pub(crate) struct FrameReader<'a, R> {
    from: R,
    /// What was read and not used yet; small frames are whole in it.
    held: BytesMut,
    /// The frame that [`Self::whole`] gave, where it is large.
    large: Pooled,
    /// Bytes of `held` that were given as a frame.
    given: usize,
    limit: usize,
    activity: &'a Activity,
}

/// Reads of a connection that brought something, on either side.
#[derive(Debug, Default)]
pub(crate) struct Activity(AtomicU64);

impl Activity {
    /// It differs from an earlier one where something came in between.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The socket's word.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are no frame.
    #[error("{0}")]
    NoFrame(String),
}

/// What stands at the front.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Bytes after the size.
    pub(crate) size: usize,
}

impl<'a, R: AsyncRead + Unpin> FrameReader<'a, R> {
    pub(crate) fn new(from: R, limit: usize, activity: &'a Activity) -> Self {
        let (held, large, given) = (BytesMut::with_capacity(SMALL), Pooled::default(), 0);
        Self { from, held, large, given, limit, activity }
    }

    /// Waits for a frame's size and its first `wanted` bytes, which stay in place; see
    /// [`Self::front`]. `None` where the peer closed between frames.
    ///
    /// Cancel safe: what was read is kept.
    pub(crate) async fn head(&mut self, wanted: usize) -> Result<Option<Head>, ReadError> {
        self.held.advance(std::mem::take(&mut self.given));
        self.large.give_back();
        loop {
            if let Some(size) = self.held.first_chunk::<4>() {
                let size = self.check(*size)?;
                if self.held.len() >= 4 + wanted.min(size) {
                    return Ok(Some(Head { size }));
                }
            }
            if !self.more().await? {
                if self.held.is_empty() {
                    return Ok(None);
                }
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// Adds to what is held what has come, and waits for it; false where nothing will come any more.
    async fn more(&mut self) -> io::Result<bool> {
        // Nobody else has a share in the buffer, so this moves what is held to its front.
        self.held.reserve(SMALL - self.held.len().min(SMALL / 2));
        let count = self.from.read_buf(&mut self.held).await?;
        self.activity.0.fetch_add(1, Ordering::Relaxed);
        Ok(count > 0)
    }

    fn check(&self, size: [u8; 4]) -> Result<usize, ReadError> {
        let stated = i32::from_be_bytes(size);
        match usize::try_from(stated) {
            Ok(size) if size >= 4 && size <= self.limit => Ok(size),
            _ => Err(ReadError::NoFrame(unlikely(size, self.limit))),
        }
    }

    /// The bytes of the frame that are there, without its size.
    pub(crate) fn front(&self) -> &[u8] {
        self.held.get(4..).unwrap_or_default()
    }

    /// The whole frame, its size included; its place is used again from the next [`Self::head`] on.
    pub(crate) async fn whole(&mut self, head: Head) -> io::Result<&mut [u8]> {
        let total = 4 + head.size;
        if total <= SMALL {
            while self.held.len() < total {
                if !self.more().await? {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            self.given = total;
            return Ok(&mut self.held[..total]);
        }
        let there = self.held.len().min(total);
        let frame = self.large.take();
        frame.extend_from_slice(&self.held[..there]);
        self.held.advance(there);
        while frame.len() < total {
            // Memory grows with what arrives, not with what was announced; and nothing is read that
            // belongs to the next frame, which has its place in `held`.
            let left = total - frame.len();
            frame.reserve(left.min(LARGE));
            let count = self.from.read_buf(&mut frame.limit(left)).await?;
            self.activity.0.fetch_add(1, Ordering::Relaxed);
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(frame)
    }

    /// Hands the frame on as it comes, without gathering it.
    pub(crate) async fn pass<W: AsyncWrite + Unpin>(
        &mut self,
        head: Head,
        to: &mut W,
    ) -> io::Result<()> {
        let total = 4 + head.size;
        let there = self.held.len().min(total);
        to.write_all(&self.held[..there]).await?;
        self.held.advance(there);
        let mut left = total - there;
        if left > 0 {
            let chunk = self.large.take();
            while left > 0 {
                chunk.clear();
                chunk.reserve(left.min(LARGE));
                let count = self.from.read_buf(&mut chunk.limit(left)).await?;
                self.activity.0.fetch_add(1, Ordering::Relaxed);
                if count == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                to.write_all(chunk).await?;
                left -= count;
            }
            self.large.give_back();
        }
        to.flush().await
    }
}

/// Writes all of it out: TLS may hold the end back until it is flushed, a socket has nothing to flush.
pub(crate) async fn write<W: AsyncWrite + Unpin>(to: &mut W, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// What the first bytes are when they are no frame size.
fn unlikely(size: [u8; 4], limit: usize) -> String {
    match &size {
        [0x16, 0x03, ..] => {
            "these bytes begin a TLS handshake; this port speaks without TLS".into()
        }
        [0x15, 0x03, ..] => "these bytes are a TLS alert; this port speaks without TLS".into(),
        b"GET " | b"POST" | b"HEAD" | b"PUT " => {
            "these bytes are HTTP; this port speaks Kafka".into()
        }
        _ => {
            let size = i32::from_be_bytes(size);
            format!("a frame of {size} bytes, where 4 to {limit} are allowed")
        }
    }
}
