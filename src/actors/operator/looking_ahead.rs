//! Draws where answers are slow, or the check of the draw alone is (a call that goes through thousands of players, or many
//! calls where none go together): a check that begins when the head is there that allows the draw, and that head heard of
//! one answer late, would cost blocks. So the draw is checked and signed before its window opens, and shortly before that
//! the head's time is asked for here, too. What is left after the first head that allows it is the sending.
//!
//! Where both are quick nothing of this happens: the check at the head itself is the better one. How long a check takes is
//! found out at the rehearsal.

use std::time::Duration;

use crate::actors::operator::foresight::{Ahead, Basis, Foreseen};
use crate::actors::operator::moment::Moment;
use crate::actors::operator::Operator;
use crate::actors::sender::{Check, Order, Prepared};
use crate::chain::node::Endpoint;
use crate::lottery::action::ActionKind;
use crate::lottery::decision::PendingTime;
use crate::lottery::round::RoundState;

/// Answers are slow where fewer than so many fit between two blocks.
const ANSWERS_A_BLOCK_MIN: u32 = 4;
/// No chain's blocks are taken to follow each other faster.
const SPACING_MIN: Duration = Duration::from_millis(200);
/// And a check is, where fewer than so many fit.
const CHECKS_A_BLOCK_MIN: u32 = 2;
/// What a check takes where that is not known, in answers.
const ANSWERS_A_CHECK: u32 = 2;
/// The check begins so many answers before the window, and blocks beside them, and as long as it takes: the time of the last
/// head that is known may be two old, and a batch that is refused costs another.
const ANSWERS_BEFORE: u32 = 3;
const BLOCKS_BEFORE: u32 = 2;
const BEFORE_MAX: Duration = Duration::from_secs(45);
/// What was refused ahead is asked again after this, while there is time.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Beyond the window's opening the head's time is asked for this much longer, in answers, before the store's news are
/// waited for again.
const ANSWERS_AFTER: u32 = 5;

/// How long a draw takes that is to be checked and sent.
struct Slowness {
    answer: Duration,
    check: Duration,
    /// So that the store hears late of heads.
    is_of_answers: bool,
}

impl Operator {
    /// One answer of the quickest endpoint.
    pub(super) fn quickest_answer(&self) -> Option<Duration> {
        let latency = |endpoint: &Endpoint| endpoint.with_health(|health| health.latency());
        self.endpoints.list().iter().filter_map(latency).min()
    }

    /// What answers and the check take, where that is long for this chain.
    fn slowness(&self, moment: &Moment) -> Option<Slowness> {
        let answer = self.quickest_answer()?;
        let schedule = moment.schedule;
        // The mean is of no use where time has jumped; the least tells nothing where blocks come faster than seconds pass.
        let spacing = match schedule.least_to_next_secs {
            0 => Duration::from_secs_f64(schedule.mean_spacing_secs?.clamp(0.0, 1.0)),
            secs => Duration::from_secs(secs),
        };
        let spacing = spacing.max(SPACING_MIN);
        let measured = self.round.foresight.check_takes.unwrap_or_default();
        let is_of_answers = answer * ANSWERS_A_BLOCK_MIN >= spacing;
        let is_slow = is_of_answers || measured * CHECKS_A_BLOCK_MIN >= spacing;
        is_slow.then(|| Slowness {
            answer,
            check: measured.max(answer * ANSWERS_A_CHECK),
            is_of_answers,
        })
    }

    /// A draw is ahead that is this operator's to send as any other.
    fn has_plain_draw_ahead(&self, moment: &Moment) -> bool {
        let round = &moment.round;
        let is_before = round.state == RoundState::Betting
            && !round.total_pot_wei.is_zero()
            && moment.next_block_time < round.min_draw_time;
        // A standby lets its twin go first, and what is out of an earlier round holds the nonce.
        let is_ours = self.settings.policy.standby_delay.is_zero() && self.flight.is_none();
        let is_plain = self.round.unpayable_draws == 0 && self.round.draw_failures.count == 0;
        is_before && is_ours && is_plain
    }

    /// At the rehearsal: finds out how long the check of the draw takes.
    pub(super) fn time_check(&mut self, moment: &Moment) {
        if self.round.foresight.check_takes.is_some() || !self.has_plain_draw_ahead(moment) {
            return;
        }
        let order = self.order_ahead(moment);
        if let Some(sender) = &mut self.sender {
            self.round.foresight.check_takes = Some(sender.time_check(&order));
        }
    }

    /// Does ahead what can be done ahead.
    pub(super) fn look_ahead(&mut self, moment: &Moment) -> Ahead {
        if !self.has_plain_draw_ahead(moment) {
            return Ahead::Nothing;
        }
        let Some(slowness) = self.slowness(moment) else {
            return Ahead::Nothing;
        };
        let Slowness { answer, check, .. } = slowness;
        let spacing = Duration::from_secs(moment.schedule.least_to_next_secs);
        let opens_at = moment.chain_time.instant_of(moment.round.min_draw_time);
        let opens_in = opens_at.saturating_duration_since(moment.now);
        let before = check + answer * ANSWERS_BEFORE + spacing * BLOCKS_BEFORE;
        if opens_in > before.min(BEFORE_MAX) {
            return Ahead::Nothing;
        }
        let rested = self.round.foresight.again_at;
        let has_asked = match self.foresees(moment) {
            false => rested.is_none_or(|at| moment.now >= at) && self.foresee(moment),
            // Asked now, it is answered one answer later; and the store may hear of a head two answers late.
            true => {
                slowness.is_of_answers
                    && opens_in <= answer * 2 + spacing
                    && moment.now < opens_at + answer * ANSWERS_AFTER
                    && self.glance(moment, answer)
            }
        };
        match has_asked {
            true => Ahead::Asked,
            false if self.foresees(moment) => Ahead::Awaited,
            false => Ahead::Nothing,
        }
    }

    /// A draw is signed that can be sent as soon as a head allows it.
    fn foresees(&self, moment: &Moment) -> bool {
        let draw = self.round.foresight.draw.as_ref();
        draw.is_some_and(|draw| draw.is_good(&moment.round, &moment.snapshot, moment.now))
    }

    fn order_ahead<'a>(&self, moment: &'a Moment) -> Order<'a> {
        Order {
            kind: ActionKind::Draw,
            round: &moment.round,
            head: moment.newest,
            next_block_time: moment.round.min_draw_time,
            pending: PendingTime::Unasked,
            check: Check::Ahead,
            spend_max_wei: self.settings.max_tx_fee_wei,
            outbid_twin: false,
            over: None,
        }
    }

    fn foresee(&mut self, moment: &Moment) -> bool {
        let order = self.order_ahead(moment);
        let Some(sender) = &mut self.sender else {
            return false;
        };
        let prepared = sender.prepare(&order, moment.now);
        let signed_at = self.reporter.clock.now();
        let foresight = &mut self.round.foresight;
        foresight.again_at = Some(signed_at + AGAIN_AFTER);
        match prepared {
            Ok(prepared) => {
                let basis = Basis::of(&moment.round, &moment.snapshot);
                foresight.draw = Some(Foreseen {
                    prepared,
                    signed_at,
                    basis,
                });
            }
            // It says nothing yet: what holds then is asked when the window is open.
            Err(why) => log::debug!("nothing is signed ahead: {why}"),
        }
        true
    }

    /// Asks for the newest head. One that is further on than time has passed is not believed.
    fn glance(&mut self, moment: &Moment, answer: Duration) -> bool {
        let Some(sender) = &self.sender else {
            return false;
        };
        let schedule = moment.schedule;
        let allows = moment
            .round
            .min_draw_time
            .saturating_sub(schedule.least_to_next_secs);
        let head = sender.newest_head(allows);
        let now = self.reporter.clock.now();
        let spacing_secs = schedule.least_to_next_secs.max(1);
        // By the store's head, never by another glance, so that no row of lies leads away step by step. The store may have
        // heard of it an answer late, and a block may have come just then.
        let by_store = moment.snapshot.chain_time.unwrap_or(moment.chain_time);
        let passed = by_store.at(now + answer) + spacing_secs;
        match head {
            Ok(head) if head.timestamp <= passed.min(moment.round.max_draw_time) => {
                self.round.foresight.glance = Some((head, now));
                true
            }
            Ok(head) => {
                log::debug!("a head of {} is not believed at {passed}", head.timestamp);
                false
            }
            Err(error) => {
                log::debug!("the newest head cannot be asked for: {error}");
                false
            }
        }
    }

    /// The draw that was signed ahead, where everything that it rests on is still so. Whatever becomes of it, it is not
    /// used again.
    pub(super) fn take_foreseen(&mut self, moment: &Moment) -> Option<Prepared> {
        let draw = self.round.foresight.draw.take()?;
        if !draw.is_good(&moment.round, &moment.snapshot, moment.now) {
            return None;
        }
        let mut prepared = draw.prepared;
        prepared.state.note_signing(moment.newest, moment.now);
        prepared.state.begin_again(moment.now);
        Some(prepared)
    }
}
