//! Whose turn it is: those who have asked for nothing lately before those who have, and of these no more at once than keeps
//! the turn short. So whoever comes to a crowd that never stops asking is answered as if it were alone.

use std::time::{Duration, Instant};

use polling::{Event as Readiness, Events};

use crate::web::gate::{Gate, LISTENER_KEY, READ_BYTES, TURN};

/// How long those are served in one turn who have just asked for something else, and how long answers are taken from the
/// workers.
const SLICE: Duration = Duration::from_millis(5);

impl Gate {
    /// How long the next turn may wait for something to do.
    pub(super) fn patience(&self) -> Duration {
        match (self.done.is_empty(), self.accept_again_at) {
            (false, _) => Duration::ZERO,
            (true, None) => TURN,
            (true, Some(at)) => at.saturating_duration_since(Instant::now()).min(TURN),
        }
    }

    /// Serves those that the poller told of, as far as their turn comes: of the others it tells again.
    pub(super) fn serve_all(&mut self, events: &Events, now: Instant) -> Result<(), String> {
        let mut others = Vec::new();
        for event in events.iter() {
            match event.key.checked_sub(LISTENER_KEY) {
                Some(index) => self.accept(index, now)?,
                None if self.clients.is_quiet(event.key, now) => self.serve(event, now),
                None => others.push(event),
            }
        }
        put_in_turn(&mut others, self.resumed_at);
        let begun = Instant::now();
        for event in others {
            self.serve(event, now);
            self.resumed_at = event.key + 1;
            if begun.elapsed() >= SLICE {
                break;
            }
        }
        Ok(())
    }

    /// Takes what the workers have made, but does not go on for as long as they make more.
    pub(super) fn take_answers(&mut self, now: Instant) {
        let begun = Instant::now();
        while let Ok(done) = self.done.try_recv() {
            match done.delay.is_zero() {
                true => self.take_answer(done, now),
                false => self.delayed.push_back((now + done.delay, done)),
            }
            if begun.elapsed() >= SLICE {
                return;
            }
        }
    }

    fn serve(&mut self, event: Readiness, now: Instant) {
        let key = event.key;
        let client = self.clients.get_mut(key);
        if client.is_some_and(|client| client.armed == (false, false)) {
            // Nothing was waited for: it can only be the end of a connection that was cut off, which is told of until the
            // connection is closed.
            return self.close(key);
        }
        if event.writable {
            self.write(key, now);
        }
        if event.readable {
            let mut buffer = std::mem::take(&mut self.buffer);
            // It is empty after a panic.
            buffer.resize(READ_BYTES, 0);
            self.read(key, &mut buffer, now);
            self.buffer = buffer;
        }
        self.rearm(key);
    }
}

/// By their keys, from this one on and round.
fn put_in_turn(events: &mut [Readiness], first: usize) {
    events.sort_unstable_by_key(|event| event.key.wrapping_sub(first));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_passed_over_for_long() {
        let waiting = [7, 1, 9, 3];
        let (mut first, mut served) = (0, Vec::new());
        // Two have a turn each time, and all of them always want one.
        for _ in 0..4 {
            let mut events = waiting.map(Readiness::readable);
            put_in_turn(&mut events, first);
            served.extend(events[..2].iter().map(|event| event.key));
            first = events[1].key + 1;
        }
        assert_eq!(served, [1, 3, 7, 9, 1, 3, 7, 9]);
    }
}
