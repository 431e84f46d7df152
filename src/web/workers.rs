//! The threads that make answers: one request after the other, from the gate's queue back to the gate.

use std::net::IpAddr;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{select, Sender};
use polling::Poller;

use crate::actors::messages::SharedSnapshot;
use crate::base::shutdown::Shutdown;
use crate::base::thread::Beat;
use crate::web::clients::ClientId;
use crate::web::http::{encode, Persistence, Reply, Request};
use crate::web::jobs::JobReceiver;
use crate::web::making::Turn;
use crate::web::ready::{AnswerKey, Stamp};
use crate::web::reply::{refusal, write_refusal};

/// Makes the answer to a request.
pub type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

pub(crate) const WORKERS: usize = 2;
const IDLE_TURN: Duration = Duration::from_secs(2);

/// A request on its way to a worker.
pub(crate) struct Job {
    pub client: ClientId,
    /// In whose line it stands.
    pub waits_as: IpAddr,
    pub request: Request,
    pub persistence: Persistence,
    pub shared: Option<Shared>,
}

/// Of an answer that may serve others.
pub(crate) struct Shared {
    pub key: AnswerKey,
    /// The time for which it is asked.
    pub stamp: Stamp,
    pub turn: Turn,
}

/// An answer on its way back.
pub(crate) struct Done {
    pub client: ClientId,
    pub bytes: Vec<u8>,
    pub status: u16,
    pub persistence: Persistence,
    pub delay: Duration,
    /// The stamp is there where the answer was made of nothing else.
    pub shared: Option<(AnswerKey, Option<Stamp>)>,
}

/// What the workers need; each has a clone.
#[derive(Clone)]
pub struct Workers {
    pub(crate) jobs: JobReceiver<Job>,
    pub(crate) done: Sender<Done>,
    /// The gate's, which it sleeps on.
    pub(crate) poller: Arc<Poller>,
    pub(crate) snapshot: SharedSnapshot,
}

impl Workers {
    /// A thread's body. A handler that panics costs its request alone.
    ///
    /// # Errors
    /// None: it ends when the token is tripped or the gate has gone.
    pub fn work(&self, handler: &Handler, shutdown: &Shutdown, beat: &Beat) -> Result<(), String> {
        loop {
            beat.turn();
            let job = select! {
                recv(self.jobs.signal()) -> signal => match (signal, self.jobs.take()) {
                    (Ok(()), Some(job)) => job,
                    (Ok(()), None) => continue,
                    (Err(_), _) => return Ok(()),
                },
                recv(shutdown.signal()) -> _ => return Ok(()),
                default(IDLE_TURN) => continue,
            };
            let is_made = |shared: &Shared| !shared.turn.begins();
            if job.shared.as_ref().is_some_and(is_made) {
                continue;
            }
            let done = self.answer(job, handler);
            if self.done.send(done).is_err() || self.poller.notify().is_err() {
                return Ok(());
            }
        }
    }

    fn answer(&self, job: Job, handler: &Handler) -> Done {
        let request = &job.request;
        let reply = catch_unwind(AssertUnwindSafe(|| handler(request))).unwrap_or_else(|_| {
            log::error!("answering {} {} panicked", request.method, request.path);
            let message = "the request could not be answered: this is a fault of ours";
            let internal = refusal(500, "internal", message.to_owned());
            write_refusal(request.port, Some(&request.method), internal)
        });
        let bytes = encode(&reply, job.persistence, request.method == "HEAD");
        // The snapshot it was made of is the stamp's when it is still the newest one.
        let shared = job.shared.map(|shared| {
            let is_current = shared.stamp == Stamp::of(&self.snapshot, Instant::now());
            (shared.key, is_current.then_some(shared.stamp))
        });
        Done {
            client: job.client,
            bytes,
            status: reply.status,
            persistence: job.persistence,
            delay: reply.delay,
            shared,
        }
    }
}
