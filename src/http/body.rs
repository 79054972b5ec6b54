//! Owns the reading of bodies that strangers send: they need no signature to make us hold memory.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

/// GitHub sends at most 25 MiB.
/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap>
pub const LARGEST: usize = 25 << 20;

/// What one body takes of the usual room, in KiB. A usual delivery has 20.
const USUAL: usize = 1 << 10;

/// The memory that bodies may take while they are read, one permit for each KiB. It is taken as bytes arrive, so that
/// who announces much and sends nothing holds nothing; and what goes beyond a usual delivery has a room of its own, so
/// that many large ones, however slow, do not keep usual ones waiting.
pub struct Room {
    usual: Semaphore,
    large: Semaphore,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    TooLarge,
    Broken,
}

impl Default for Room {
    fn default() -> Self {
        Room {
            usual: Semaphore::new(192 << 10),
            large: Semaphore::new(64 << 10),
        }
    }
}

impl Room {
    /// The whole body. What says that it is too large is refused before a byte of it is read.
    pub async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Bytes, Unread> {
        let length = headers.get(header::CONTENT_LENGTH);
        let length: Option<usize> = length.and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length| length > LARGEST) {
            return Err(Unread::TooLarge);
        }
        let mut read = BytesMut::new();
        let mut taken = Taken::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Unread::Broken)?;
            let Ok(data) = frame.into_data() else { continue };
            let size = read.len() + data.len();
            if size > LARGEST {
                return Err(Unread::TooLarge);
            }
            taken.grow(self, size.div_ceil(1024)).await;
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }
}

/// What one body has taken.
#[derive(Default)]
struct Taken<'r> {
    usual: Option<SemaphorePermit<'r>>,
    large: Option<SemaphorePermit<'r>>,
}

impl<'r> Taken<'r> {
    async fn grow(&mut self, room: &'r Room, kilobytes: usize) {
        take(&mut self.usual, &room.usual, kilobytes.min(USUAL)).await;
        take(&mut self.large, &room.large, kilobytes.saturating_sub(USUAL)).await;
    }
}

async fn take<'r>(held: &mut Option<SemaphorePermit<'r>>, from: &'r Semaphore, wanted: usize) {
    let has = held.as_ref().map_or(0, SemaphorePermit::num_permits);
    let more = u32::try_from(wanted.saturating_sub(has)).expect("at most 25 MiB");
    if more == 0 {
        return;
    }
    let more = from.acquire_many(more).await.expect("nobody closes the room");
    match held {
        Some(held) => held.merge(more),
        None => *held = Some(more),
    }
}
