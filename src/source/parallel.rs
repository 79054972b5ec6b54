//! Owns the splitting of work that recurses over a few threads.

use std::sync::atomic::{AtomicUsize, Ordering};

const MAX_THREADS: usize = 8;
/// Pieces that a thread takes at a time: whoever is free takes the next few, so that a long one keeps nobody waiting.
const TAKEN: usize = 16;
/// Parsing recurses as deep as a file nests, which the parser bounds at 64; in a debug build a level of nesting
/// takes some 60 KiB, which is more in all than an ordinary thread's stack. Memory is taken only when it is touched.
const STACK_BYTES: usize = 64 << 20;

/// Does the work for every item, in their order, on this thread and on others. This thread has to be a deep one.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let share = || {
        let mut done: Vec<(usize, Vec<R>)> = Vec::new();
        loop {
            let from = next.fetch_add(TAKEN, Ordering::Relaxed);
            let Some(rest) = items.get(from..).filter(|rest| !rest.is_empty()) else {
                return done;
            };
            done.push((from, rest.iter().take(TAKEN).map(&work).collect()));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let others = threads
        .min(MAX_THREADS)
        .min(items.len().div_ceil(TAKEN))
        .saturating_sub(1);
    let mut done = std::thread::scope(|scope| {
        // Where no thread is to be had, this one does it all.
        let spawned: Vec<_> = (0..others)
            .map_while(|_| deep_thread().spawn_scoped(scope, share).ok())
            .collect();
        let mut done = share();
        for thread in spawned {
            match thread.join() {
                Ok(part) => done.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(from, _)| *from);
    done.into_iter().flat_map(|(_, part)| part).collect()
}

/// Runs a function that may recurse as deep as a file nests. `Err`: no thread is to be had.
pub fn on_a_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = deep_thread().spawn_scoped(scope, work)?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn deep_thread() -> std::thread::Builder {
    std::thread::Builder::new().stack_size(STACK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_order() {
        for count in [0, 1, 15, 16, 17, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            let done = map(&items, |item| item * 2);
            assert_eq!(done, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
