//! What the threads say to each other. Every channel is bounded; who may block and who drops is said at each.

use std::collections::hash_map::RandomState;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender};

use crate::base::clock::Clock;
use crate::lottery::action::ActionRecord;
use crate::lottery::command::{Command, CommandKind};
use crate::lottery::snapshot::{Publication, Snapshot};

/// The newest snapshot, swapped by the store and read by everyone.
#[derive(Clone)]
pub struct SharedSnapshot(Arc<RwLock<Arc<Snapshot>>>);

impl SharedSnapshot {
    pub fn new(snapshot: Arc<Snapshot>) -> SharedSnapshot {
        SharedSnapshot(Arc::new(RwLock::new(snapshot)))
    }

    pub fn load(&self) -> Arc<Snapshot> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn swap(&self, snapshot: Arc<Snapshot>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// What a listener of the store receives; a gap in `number` tells it that it lagged.
pub type PublicationReceiver = Receiver<Arc<Publication>>;

/// Where the web hands manual actions to the operator; it never waits.
#[derive(Clone)]
pub struct OperatorHandle {
    commands: Sender<Command>,
    clock: Clock,
    issued: Arc<Mutex<Issued>>,
}

/// The actions handed over lately, for those who ask before the operator has begun them.
struct Issued {
    /// Keeps ids of two runs of the daemon apart.
    run: u32,
    count: u64,
    records: VecDeque<Arc<ActionRecord>>,
}

const ISSUED_MAX: usize = 100;

/// The operator's queue is full; the caller answers "busy".
#[derive(Debug, PartialEq, Eq)]
pub struct OperatorBusy;

impl OperatorHandle {
    pub fn new(commands: Sender<Command>, clock: Clock) -> OperatorHandle {
        // The upper half of a randomly keyed hash of nothing: unpredictable enough for a label.
        let run = (RandomState::new().build_hasher().finish() >> 32) as u32;
        let issued = Issued {
            run,
            count: 0,
            records: VecDeque::new(),
        };
        OperatorHandle {
            commands,
            clock,
            issued: Arc::new(Mutex::new(issued)),
        }
    }

    /// Queues the action; its id can be asked for at once.
    pub fn submit(&self, round_id: u64, kind: CommandKind) -> Result<String, OperatorBusy> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let id = format!("{:08x}-{}", issued.run, issued.count + 1);
        let command = Command {
            action_id: id.clone(),
            round_id,
            kind,
        };
        self.commands.try_send(command).map_err(|_| OperatorBusy)?;
        issued.count += 1;
        if issued.records.len() == ISSUED_MAX {
            issued.records.pop_front();
        }
        let unix_ms = self.clock.unix_ms();
        let record = ActionRecord::queued(id.clone(), kind.action(), round_id, true, unix_ms);
        issued.records.push_back(Arc::new(record));
        Ok(id)
    }

    /// The record of an action: the snapshot's, or as it was issued when the operator has not begun it.
    pub fn action(&self, snapshot: &Snapshot, id: &str) -> Option<Arc<ActionRecord>> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot
            .actions
            .iter()
            .chain(&issued.records)
            .find(|record| record.id == id)
            .cloned()
    }
}
