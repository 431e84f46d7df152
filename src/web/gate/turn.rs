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
                None => match self.clients.last_turn(event.key, now) {
                    None => self.serve(event, now),
                    Some(last_turn) => others.push((last_turn, event)),
                },
            }
        }
        put_in_turn(&mut others);
        let begun = Instant::now();
        for (_, event) in others {
            self.serve(event, now);
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
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.served_at = now;
        if client.armed == (false, false) {
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

/// Whose last turn is longest ago comes first. Those with the same stay as the poller tells of them, which is the order in
/// which they asked: to wake clients of the same machine in any other costs the system a sixth more of its time.
fn put_in_turn(waiting: &mut [(Instant, Readiness)]) {
    waiting.sort_by_key(|(last_turn, _)| *last_turn);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_passed_over_for_long() {
        let start = Instant::now();
        let mut told = [7, 1, 9, 3].map(|key| (start, Readiness::readable(key)));
        let mut served = Vec::new();
        // Two have a turn each time, all of them always want one, and the poller tells of them in one order.
        for turn in 1..=4 {
            let mut waiting = told;
            put_in_turn(&mut waiting);
            for (_, event) in &waiting[..2] {
                served.push(event.key);
                let known = told.iter_mut().find(|(_, known)| known.key == event.key);
                known.unwrap().0 = start + Duration::from_millis(turn);
            }
        }
        assert_eq!(served, [7, 1, 9, 3, 7, 1, 9, 3]);
    }
}
