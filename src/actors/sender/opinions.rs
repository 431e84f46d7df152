//! Whose word an action rests on: the first endpoint's, unless it objects, or tells a balance that is too low or a nonce that
//! was not agreed on before. Then the others are asked for a moment, and the best that is told is taken. So it is with the
//! nonce while something is out.

use std::time::Duration;

use log::Level;

use crate::actors::sender::preflight::{Gathered, TO_PREPARE_WELL};
use crate::actors::sender::reads::{PATIENCE, TO_LOOK};
use crate::actors::sender::{NotSigned, Offer, Order, Sender, SECOND_OPINION};
use crate::chain::error::RpcError;
use crate::chain::method::Method;
use crate::chain::node::{Endpoint, Purpose};
use crate::chain::query;
use crate::chain::types::{BlockId, BlockRef, U256};

/// The next nonce at one head.
pub(super) struct Counted {
    /// By each endpoint that was asked and answered.
    pub(super) told: Vec<u64>,
    /// The one of these that counts.
    pub(super) believed: u64,
}

/// What several endpoints tell of a block's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToldTime {
    /// At most one of them has told it.
    Unconfirmed,
    Agreed(u64),
    /// As many say one thing as another, and nobody can tell which is true.
    Disputed {
        earliest: u64,
    },
}

/// What can be signed, and by whose word.
type Opinion = (Endpoint, Offer);

impl Sender {
    /// What one endpoint says against the action is believed when none of the others has an answer that allows it.
    pub(super) fn opinion(&mut self, order: &Order) -> Result<Opinion, NotSigned> {
        let (first, told) = self.gather(order)?;
        let judged = self.judge(order, told);
        let stands = match &judged {
            _ if self.endpoints.list().len() == 1 => true,
            Ok(offer) => offer.doubt.is_none() && self.nonces.agreed() == Some(offer.nonce()),
            // What is pending is not seen by every node.
            Err(refusal) => matches!(refusal, NotSigned::TwinPending { .. }),
        };
        if stands {
            return judged.map(|offer| (first, offer));
        }
        let own = judged.iter().map(|offer| (first.clone(), offer.nonce()));
        let mut heard: Vec<(Endpoint, u64)> = own.collect();
        let others = self.others(order, &first, &mut heard);
        let own = judged.iter().map(|offer| (&first, offer));
        let all = own.chain(others.iter().map(|(other, offer)| (other, offer)));
        vote_on_funds(all.map(|(endpoint, offer)| (endpoint, offer.doubt.is_none())));
        let told = nonces_of(&heard);
        let better = |one: Opinion, other: Opinion| {
            let disbelief = |(_, offer): &Opinion| {
                let of_nonce = self.nonces.disbelief(offer.nonce(), &told);
                (offer.doubt.is_some(), of_nonce)
            };
            match disbelief(&other) < disbelief(&one) {
                true => other,
                false => one,
            }
        };
        let (taken, what) = match judged {
            Ok(offer) if others.is_empty() => return self.by_memory(order, first, offer),
            Ok(offer) => {
                let taken = others.into_iter().fold((first.clone(), offer), better);
                (taken, "is doubted")
            }
            Err(refusal) => (others.into_iter().reduce(better).ok_or(refusal)?, "objects"),
        };
        if heard.len() > 1 {
            self.agree(&heard);
        }
        let (source, offer) = &taken;
        if *source != first {
            let (first, nonce) = (first.host(), offer.nonce());
            log::info!(
                "{first} {what}, {} does not, at nonce {nonce}",
                source.host()
            );
        }
        Ok(taken)
    }

    /// What the other endpoints let be signed, as far as they say so soon, until one is beyond doubt.
    fn others(
        &self,
        order: &Order,
        first: &Endpoint,
        heard: &mut Vec<(Endpoint, u64)>,
    ) -> Vec<Opinion> {
        let mut others = Vec::new();
        let preflight = self.preflight(order);
        let ask = move |endpoint: &Endpoint| preflight.ask_whole(endpoint);
        let whom = (Purpose::Prepare, Some(first));
        let answers = self.endpoints.ask_each(whom, TO_PREPARE_WELL, ask);
        let deadline = self.endpoints.clock().now() + SECOND_OPINION;
        while let Some((other, answer)) = self.endpoints.next_answer(&answers, Some(deadline)) {
            let Some(offer) = answer.ok().and_then(|told| self.judge(order, told).ok()) else {
                continue;
            };
            let nonce = offer.nonce();
            let is_confirmed =
                heard.iter().any(|(_, told)| *told == nonce) || self.nonces.agreed() == Some(nonce);
            let is_settled = is_confirmed && offer.doubt.is_none();
            heard.push((other.clone(), nonce));
            others.push((other, offer));
            if is_settled {
                break;
            }
        }
        others
    }

    /// By one endpoint's word alone, but for the nonce, where another was agreed on before.
    fn by_memory(&self, order: &Order, only: Endpoint, offer: Offer) -> Result<Opinion, NotSigned> {
        let nonce = match self.nonces.agreed() {
            Some(agreed) if agreed != offer.nonce() => agreed,
            _ => return Ok((only, offer)),
        };
        let host = only.host();
        log::warn!(
            "{host} tells nonce {}, {nonce} was agreed on",
            offer.nonce()
        );
        let gathered = Gathered {
            nonce,
            pending_nonce: nonce,
            rival: None,
            ..offer.gathered
        };
        self.judge(order, Ok(gathered)).map(|offer| (only, offer))
    }

    /// While there is time: what all endpoints tell of the next nonce and of the head's time, at one block, as far as they do
    /// so within `patience`.
    pub(super) fn agree_on_head(&mut self, head: BlockRef, patience: Duration) -> ToldTime {
        if self.endpoints.list().len() == 1 {
            return ToldTime::Unconfirmed;
        }
        let (address, at) = (self.address(), BlockId::from(head));
        let ask = move |endpoint: &Endpoint| {
            let mut together = endpoint.together();
            let nonce = together.add(query::transaction_count(address, at));
            let header = together.add(query::header_by_number(at));
            let mut answers = together.send()?;
            Ok((answers.take(nonce)?, answers.take(header).ok()))
        };
        let (mut nonces, mut times) = (Vec::new(), Vec::new());
        for (endpoint, (nonce, header)) in self.hear_others(Vec::new(), TO_LOOK, patience, ask) {
            times.extend(header.map(|header| (endpoint.clone(), header.timestamp)));
            nonces.push((endpoint, nonce));
        }
        self.agree(&nonces);
        self.agree_on_time(&times, at)
    }

    /// The same of an action that is about to begin, and rests on the head's time.
    pub(crate) fn confirm_time(&mut self, head: BlockRef) -> ToldTime {
        self.agree_on_head(head, SECOND_OPINION)
    }

    /// The time that most give a block is believed; where as many say one thing as another, those count whose contracts see the
    /// time that they tell.
    fn agree_on_time(&self, times: &[(Endpoint, u64)], block: BlockId) -> ToldTime {
        let all = || times.iter().map(|(_, time)| *time);
        let Some(mut believed) = all().next().filter(|_| times.len() > 1) else {
            return ToldTime::Unconfirmed;
        };
        if all().any(|time| time != believed) {
            let ask = move |endpoint: &Endpoint| endpoint.block_opcodes(block);
            let seen = self.hear_others(Vec::new(), &[Method::Call], SECOND_OPINION, ask);
            let sees = |(endpoint, time): &(Endpoint, u64)| {
                let own = seen.iter().find(|(by, _)| by == endpoint);
                own.is_some_and(|(_, opcodes)| opcodes.timestamp == *time)
            };
            let worth = |wanted: u64| {
                let telling = times.iter().filter(|(_, time)| *time == wanted);
                (
                    telling.clone().count(),
                    telling.filter(|it| sees(it)).count(),
                )
            };
            believed = all().max_by_key(|time| worth(*time)).unwrap_or(believed);
            if all().any(|time| time != believed && worth(time) == worth(believed)) {
                log::warn!("which of the times is a block's, nobody can tell: {times:?}");
                let earliest = all().min().unwrap_or(believed);
                return ToldTime::Disputed { earliest };
            }
        }
        let votes = times.iter().map(|(endpoint, time)| {
            let dissent = format!("gives a block the time {time}, which is {believed}");
            (endpoint, (*time != believed).then_some(dissent))
        });
        note_votes(Method::BlockByNumber, Level::Warn, votes);
        ToldTime::Agreed(believed)
    }

    /// The next nonce at this very head, while something is out at `held`. One endpoint's word counts where it is what was
    /// agreed on, or says that nothing has changed and that is expected.
    ///
    /// # Errors
    /// When no endpoint tells it.
    pub(super) fn counted(
        &mut self,
        head: BlockRef,
        held: u64,
        expects_open: bool,
    ) -> Result<Counted, RpcError> {
        let ask = self.count_at(head);
        let (first, nonce) = self
            .endpoints
            .hedged(Purpose::Prepare, TO_LOOK, PATIENCE, ask)?;
        let is_expected = match nonce > held {
            true => self.nonces.agreed() == Some(nonce),
            false => expects_open && nonce == held && !self.nonces.is_used(nonce),
        };
        if is_expected || self.endpoints.list().len() == 1 {
            return Ok(Counted {
                told: vec![nonce],
                believed: nonce,
            });
        }
        let ask = self.count_at(head);
        let heard = self.hear_others(vec![(first, nonce)], TO_LOOK, SECOND_OPINION, ask);
        let told = nonces_of(&heard);
        let believed = self.nonces.believed(&told).unwrap_or(nonce);
        if told.len() > 1 {
            self.agree(&heard);
        }
        Ok(Counted { told, believed })
    }

    /// What has been heard, and what the other endpoints tell in time. Once two have answered, nobody else is waited for as
    /// long.
    fn hear_others<T: Send + 'static>(
        &self,
        mut heard: Vec<(Endpoint, T)>,
        methods: &'static [Method],
        patience: Duration,
        ask: impl Fn(&Endpoint) -> Result<T, RpcError> + Clone + Send + 'static,
    ) -> Vec<(Endpoint, T)> {
        let clock = self.endpoints.clock();
        let but = heard.first().map(|(endpoint, _)| endpoint.clone());
        let whom = (Purpose::Prepare, but.as_ref());
        let answers = self.endpoints.ask_each(whom, methods, ask);
        let mut deadline = clock.now() + patience;
        while let Some((endpoint, answer)) = self.endpoints.next_answer(&answers, Some(deadline)) {
            heard.extend(answer.map(|told| (endpoint, told)));
            if heard.len() > 1 {
                deadline = deadline.min(clock.now() + SECOND_OPINION);
            }
        }
        heard
    }

    /// The balance, of which `first` told this much: the others' word for it where that is too little for what it has to
    /// pay, or where one of them was outvoted about it, and may agree by now.
    pub(super) fn agreed_balance(&self, first: Endpoint, told_wei: U256, needed_wei: U256) -> U256 {
        let is_outvoted = |endpoint: &Endpoint| {
            endpoint.with_health(|health| health.is_outvoted(Method::GetBalance))
        };
        let list = self.endpoints.list();
        let is_settled = told_wei >= needed_wei && !list.iter().any(is_outvoted);
        if is_settled || list.len() == 1 {
            return told_wei;
        }
        let address = self.address();
        let ask = move |endpoint: &Endpoint| endpoint.balance(address, BlockId::Latest);
        let own = vec![(first, told_wei)];
        let heard = self.hear_others(own, &[Method::GetBalance], SECOND_OPINION, ask);
        let votes = heard
            .iter()
            .map(|(endpoint, wei)| (endpoint, *wei >= needed_wei));
        let most_wei = heard.iter().map(|(_, wei)| *wei).max();
        match vote_on_funds(votes) {
            true => most_wei.unwrap_or(told_wei),
            false => told_wei,
        }
    }

    fn count_at(
        &self,
        head: BlockRef,
    ) -> impl Fn(&Endpoint) -> Result<u64, RpcError> + Clone + Send + 'static {
        let address = self.address();
        move |endpoint| endpoint.transaction_count(address, BlockId::from(head))
    }

    /// Agrees on the next nonce by what was heard.
    fn agree(&mut self, heard: &[(Endpoint, u64)]) {
        self.nonces.hear(&nonces_of(heard));
        let Some(agreed) = self.nonces.agreed() else {
            return;
        };
        let votes = heard.iter().map(|(endpoint, nonce)| {
            let dissent = format!("tells nonce {nonce}, others do not");
            (endpoint, (*nonce != agreed).then_some(dissent))
        });
        note_votes(Method::TransactionCount, Level::Info, votes);
    }
}

/// Whether there is enough for what is to be paid, by what these endpoints tell: the pool has the last word, so that as many
/// who say so as who do not are believed, and then there is a vote.
fn vote_on_funds<'a>(votes: impl Iterator<Item = (&'a Endpoint, bool)>) -> bool {
    let votes: Vec<(&Endpoint, bool)> = votes.collect();
    let paying = votes.iter().filter(|(_, is_enough)| *is_enough).count();
    let is_enough = paying > 0 && 2 * paying >= votes.len();
    if is_enough {
        let votes = votes.into_iter().map(|(endpoint, agrees)| {
            let dissent = "tells too little a balance, others do not".to_owned();
            (endpoint, (!agrees).then_some(dissent))
        });
        note_votes(Method::GetBalance, Level::Info, votes);
    }
    is_enough
}

/// How each endpoint told what is now believed: None, or in words how it dissents. Whoever does is asked for it after the
/// others, until it agrees again.
fn note_votes<'a>(
    method: Method,
    level: Level,
    votes: impl Iterator<Item = (&'a Endpoint, Option<String>)>,
) {
    for (endpoint, dissent) in votes {
        if let Some(words) = &dissent {
            log::log!(level, "{} {words}", endpoint.host());
        }
        endpoint.with_health(|health| health.note_vote(method, dissent.is_none()));
    }
}

fn nonces_of(heard: &[(Endpoint, u64)]) -> Vec<u64> {
    heard.iter().map(|(_, nonce)| *nonce).collect()
}
