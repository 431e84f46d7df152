//! Requests that wait for a worker, in turns by client: whoever has many of them waiting gets no more of the workers than
//! whoever has one, and when there is no room it is one of the longest line that goes. Making the answers is `workers`'
//! business.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{unbounded, Receiver, Sender};

/// The gate's end.
pub(crate) struct JobSender<T> {
    lines: Arc<Mutex<Lines<T>>>,
    tokens: Sender<()>,
    /// For the tokens of jobs that are taken back.
    tokens_out: Receiver<()>,
}

/// The workers' end.
pub(crate) struct JobReceiver<T> {
    lines: Arc<Mutex<Lines<T>>>,
    tokens: Receiver<()>,
}

impl<T> Clone for JobReceiver<T> {
    fn clone(&self) -> JobReceiver<T> {
        JobReceiver {
            lines: self.lines.clone(),
            tokens: self.tokens.clone(),
        }
    }
}

/// At most `max` wait at once.
pub(crate) fn jobs<T>(max: usize) -> (JobSender<T>, JobReceiver<T>) {
    let lines = Arc::new(Mutex::new(Lines::new(max)));
    // One for each that waits, so it is bounded as they are.
    let (tokens, tokens_out) = unbounded();
    let sender = JobSender {
        lines: lines.clone(),
        tokens,
        tokens_out: tokens_out.clone(),
    };
    let receiver = JobReceiver {
        lines,
        tokens: tokens_out,
    };
    (sender, receiver)
}

impl<T> JobSender<T> {
    /// Lets a client's job wait; the one that has to go for it, if any: this one or another's.
    pub fn send(&self, client: IpAddr, job: T) -> Option<T> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = lines.push(client, job);
        if refused.is_none() {
            let _ = self.tokens.send(());
        }
        refused
    }

    /// Takes back the newest job of a client that is meant, if it still waits.
    pub fn take_back(&self, client: IpAddr, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let job = lines.take_back(client, is_meant)?;
        // Should a worker have the token already, it finds a line that is shorter by one.
        let _ = self.tokens_out.try_recv();
        Some(job)
    }
}

impl<T> JobReceiver<T> {
    /// Tells once for each job that waits; it is taken with `take`.
    pub fn signal(&self) -> &Receiver<()> {
        &self.tokens
    }

    /// The next one's turn.
    pub fn take(&self) -> Option<T> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.pop()
    }
}

/// A line for each client that waits, and whose turn comes when.
struct Lines<T> {
    by_client: HashMap<IpAddr, VecDeque<T>>,
    turns: VecDeque<IpAddr>,
    len: usize,
    max: usize,
}

impl<T> Lines<T> {
    fn new(max: usize) -> Lines<T> {
        Lines {
            by_client: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            max,
        }
    }

    /// The job that has to go for this one, if there is no room for both: the newest in the longest line.
    fn push(&mut self, client: IpAddr, job: T) -> Option<T> {
        let refused = match self.len < self.max {
            true => None,
            false => {
                let own = self.by_client.get(&client).map_or(0, VecDeque::len);
                let longest = self.by_client.values_mut().max_by_key(|line| line.len());
                match longest.filter(|line| line.len() > own + 1) {
                    Some(line) => line.pop_back(),
                    None => return Some(job),
                }
            }
        };
        let line = self.by_client.entry(client).or_default();
        if line.is_empty() {
            self.turns.push_back(client);
        }
        line.push_back(job);
        self.len += usize::from(refused.is_none());
        refused
    }

    fn take_back(&mut self, client: IpAddr, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let line = self.by_client.get_mut(&client)?;
        let index = line.iter().rposition(is_meant)?;
        let job = line.remove(index);
        if line.is_empty() {
            self.by_client.remove(&client);
            self.turns.retain(|turn| *turn != client);
        }
        self.len -= usize::from(job.is_some());
        job
    }

    fn pop(&mut self) -> Option<T> {
        let client = self.turns.pop_front()?;
        let line = self.by_client.get_mut(&client)?;
        let job = line.pop_front();
        match line.is_empty() {
            true => drop(self.by_client.remove(&client)),
            false => self.turns.push_back(client),
        }
        self.len -= usize::from(job.is_some());
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn rest(lines: &mut Lines<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lines.pop()).collect()
    }

    #[test]
    fn clients_take_turns_and_each_has_its_order() {
        let mut lines = Lines::new(100);
        for (client, job) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30), (2, 21)] {
            assert_eq!(lines.push(ip(client), job), None);
        }
        assert_eq!(rest(&mut lines), [10, 20, 30, 11, 21, 12]);
        assert!(lines.by_client.is_empty() && lines.turns.is_empty() && lines.len == 0);
    }

    #[test]
    fn where_there_is_no_room_the_longest_line_loses_its_newest() {
        let mut lines = Lines::new(4);
        for job in 10..14 {
            assert_eq!(lines.push(ip(1), job), None);
        }
        assert_eq!(lines.push(ip(1), 14), Some(14), "it is its own line");
        assert_eq!(lines.push(ip(2), 20), Some(13));
        assert_eq!(lines.push(ip(2), 21), Some(12));
        assert_eq!(lines.push(ip(2), 22), Some(22), "both are as long");
        let refused = lines.push(ip(3), 30);
        assert!(matches!(refused, Some(11 | 21)), "{refused:?}");
        assert_eq!(lines.len, 4);
    }

    #[test]
    fn what_is_taken_back_leaves_its_room_and_its_turn() {
        let mut lines = Lines::new(4);
        for (client, job) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            assert_eq!(lines.push(ip(client), job), None);
        }
        assert_eq!(lines.take_back(ip(1), |job| *job == 20), None);
        assert_eq!(lines.take_back(ip(2), |job| *job == 20), Some(20));
        assert_eq!(lines.take_back(ip(2), |job| *job == 20), None);
        assert_eq!(lines.push(ip(4), 40), None);
        assert_eq!(lines.take_back(ip(1), |job| *job == 10), Some(10));
        assert_eq!(rest(&mut lines), [11, 30, 40]);
        assert!(lines.by_client.is_empty() && lines.turns.is_empty() && lines.len == 0);
    }

    #[test]
    fn every_job_that_is_left_has_its_token() {
        let (sender, receiver) = jobs(10);
        for job in 0..3 {
            assert_eq!(sender.send(ip(1), job), None);
        }
        assert_eq!(sender.take_back(ip(1), |job| *job == 1), Some(1));
        let left = receiver.signal().try_iter().map(|()| receiver.take());
        assert_eq!(left.collect::<Vec<_>>(), [Some(0), Some(2)]);
    }

    proptest! {
        /// Nothing is lost or made up, and nobody waits for more than one job of each other client.
        #[test]
        fn every_job_is_taken_or_refused(steps in proptest::collection::vec((0..5u8, 0..4u8), 0..200)) {
            let mut lines = Lines::new(8);
            let (mut sent, mut seen) = (0, Vec::new());
            for (client, step) in steps {
                match step {
                    0 => seen.extend(lines.pop()),
                    1 => seen.extend(lines.take_back(ip(client), |job| job % 2 == 0)),
                    _ => {
                        seen.extend(lines.push(ip(client), sent));
                        sent += 1;
                    }
                }
                prop_assert!(lines.len <= 8);
                prop_assert_eq!(lines.turns.len(), lines.by_client.len());
                let waiting: usize = lines.by_client.values().map(VecDeque::len).sum();
                prop_assert_eq!(waiting, lines.len);
            }
            seen.extend(rest(&mut lines));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..sent).collect::<Vec<_>>());
        }
    }
}
