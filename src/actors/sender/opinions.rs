//! Whose word an action rests on: the first endpoint's, unless it objects, or tells a balance that is too low or a nonce that
//! was not agreed on before. Then the others are asked for a moment, and the best that is told is taken. So it is with the
//! nonce while something is out.

use crate::actors::sender::preflight::{Gathered, TO_PREPARE_WELL};
use crate::actors::sender::reads::{PATIENCE, TO_LOOK};
use crate::actors::sender::{NotSigned, Offer, Order, Sender, SECOND_OPINION};
use crate::chain::error::RpcError;
use crate::chain::node::{Endpoint, Purpose};
use crate::chain::types::{BlockId, BlockRef};

/// The next nonce at one head.
pub(super) struct Counted {
    /// By each endpoint that was asked and answered.
    pub(super) told: Vec<u64>,
    /// The one of these that counts.
    pub(super) believed: u64,
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
        let mut told: Vec<u64> = judged.iter().map(Offer::nonce).collect();
        let others = self.others(order, &first, &mut told);
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
        if told.len() > 1 {
            self.nonces.hear(&told);
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
    fn others(&self, order: &Order, first: &Endpoint, told: &mut Vec<u64>) -> Vec<Opinion> {
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
            let is_confirmed = told.contains(&nonce) || self.nonces.agreed() == Some(nonce);
            let is_settled = is_confirmed && offer.doubt.is_none();
            told.push(nonce);
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

    /// While there is time: what all endpoints tell of the next nonce, at one block.
    pub(super) fn agree_on_nonce(&mut self, head: BlockRef) {
        if self.endpoints.list().len() > 1 {
            let heard = self.hear_others(head, None);
            let told: Vec<u64> = heard.iter().map(|(_, nonce)| *nonce).collect();
            self.nonces.hear(&told);
            self.set_back_others(&heard);
        }
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
        let mut heard = self.hear_others(head, Some(&first));
        heard.push((first, nonce));
        let told: Vec<u64> = heard.iter().map(|(_, nonce)| *nonce).collect();
        let believed = self.nonces.believed(&told).unwrap_or(nonce);
        if told.len() > 1 {
            self.nonces.hear(&told);
            self.set_back_others(&heard);
        }
        Ok(Counted { told, believed })
    }

    /// What the endpoints but this one tell of the next nonce there, as far as they say so soon.
    fn hear_others(&self, head: BlockRef, but: Option<&Endpoint>) -> Vec<(Endpoint, u64)> {
        let whom = (Purpose::Prepare, but);
        let answers = self.endpoints.ask_each(whom, TO_LOOK, self.count_at(head));
        let deadline = self.endpoints.clock().now() + SECOND_OPINION;
        let mut heard = Vec::new();
        while let Some((endpoint, answer)) = self.endpoints.next_answer(&answers, Some(deadline)) {
            heard.extend(answer.map(|nonce| (endpoint, nonce)));
        }
        heard
    }

    fn count_at(
        &self,
        head: BlockRef,
    ) -> impl Fn(&Endpoint) -> Result<u64, RpcError> + Clone + Send + 'static {
        let address = self.address();
        move |endpoint| endpoint.transaction_count(address, BlockId::from(head))
    }

    /// Who told another nonce than was agreed on is asked after the others.
    fn set_back_others(&self, heard: &[(Endpoint, u64)]) {
        let agreed = self.nonces.agreed();
        let others = heard
            .iter()
            .filter(|(_, nonce)| agreed.is_some_and(|it| it != *nonce));
        for (endpoint, nonce) in others {
            log::info!("{} tells nonce {nonce}, others do not", endpoint.host());
            self.endpoints.set_back(endpoint);
        }
    }
}
