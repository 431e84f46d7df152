//! How soon the true chain's blocks are shown. How long that may take is `patience`'s.

use std::time::Duration;

use crate::patience::Patience;
use crate::world::World;

#[derive(Default)]
pub struct Following {
    /// The best chain's blocks by number, and since when each is one of it.
    since: Vec<(usize, Duration)>,
}

impl Following {
    /// The best chain is another one.
    pub fn moved(&mut self, world: &World, now: Duration) {
        let same = |number: usize, known: &(usize, Duration)| {
            world.canonical.get(number) == Some(&known.0)
        };
        while let Some(last) = self.since.last() {
            if same(self.since.len() - 1, last) {
                break;
            }
            self.since.pop();
        }
        let new = world.canonical.iter().skip(self.since.len());
        self.since.extend(new.map(|index| (*index, now)));
    }

    /// What should be shown by now by who has started then, and shows that block as the newest.
    pub fn late(
        &self,
        (shown, started): (Option<usize>, Duration),
        daemon: usize,
        world: &World,
        patience: &Patience,
        now: Duration,
    ) -> Option<String> {
        let next = match shown {
            Some(index) => world.newest_shared(index) + 1,
            None => 0,
        };
        let (index, since) = self.since.get(next as usize)?;
        let since = (*since).max(started);
        let due = patience.shown_by(since, daemon);
        (now > due).then(|| {
            let number = world.blocks[*index].number;
            format!("block {number} of {since:?}, due {due:?}, at {now:?}")
        })
    }
}
