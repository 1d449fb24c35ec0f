//! Memory for frames that are held whole, bounded over all connections.

use tokio::sync::{Semaphore, SemaphorePermit};

/// What of it is free.
#[derive(Debug)]
pub(crate) struct Room {
    units: Semaphore,
    all: u32,
}

/// One permit stands for so many bytes.
const UNIT: usize = 4096;

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        let all = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX);
        Self { units: Semaphore::new(all as usize), all }
    }

    /// Waits until there is room for a frame, so that its sender waits; one that is larger than all
    /// the room takes all of it.
    pub(crate) async fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.all);
        // It is never closed.
        self.units.acquire_many(units).await.ok()
    }

    /// Bytes that are taken.
    pub(crate) fn taken(&self) -> usize {
        (self.all as usize - self.units.available_permits()) * UNIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_room_waits() {
        let room = Room::new(10 * UNIT);
        let first = room.take(6 * UNIT).await;
        assert_eq!(room.taken(), 6 * UNIT);
        tokio::select! {
            biased;
            _ = room.take(5 * UNIT) => panic!("there was no room"),
            () = tokio::task::yield_now() => {}
        }
        drop(first);
        let all = room.take(usize::MAX).await;
        assert_eq!(room.taken(), 10 * UNIT, "a frame larger than the room takes all of it");
        drop(all);
        assert_eq!(room.taken(), 0);
    }
}
