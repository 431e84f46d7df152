//! The other end of the API: the running daemon asked by our own commands. What they read of its answers is spelled here,
//! beside the room that writes them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{json, Value};
use thiserror::Error;

use crate::chain::types::U256;
use crate::config::Secret;
use crate::lottery::command::CommandKind;

const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Why the daemon did not do as it was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("no daemon answers at {base}, which server.host and server.port name: {cause}")]
    Unreachable { base: String, cause: String },
    #[error("what answers at {base} is not this daemon")]
    Foreign { base: String },
    /// It answered with an error of its own.
    #[error("{message}")]
    Refused { status: u16, message: String },
    #[error("the daemon does not know the round yet")]
    NoRound,
}

/// An action as far as a person has to hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionAnswer {
    pub action: String,
    pub round_id: u64,
    pub state: String,
    pub block_number: Option<u64>,
    pub hashes: Vec<String>,
    pub error: Option<String>,
}

impl ActionAnswer {
    pub(crate) fn is_done(&self) -> bool {
        self.state == "done"
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.is_done() || self.state == "failed"
    }
}

/// How the daemon is, as far as a person has to hear of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusAnswer {
    pub as_of: AsOfAnswer,
    pub round: RoundAnswer,
    pub operator: OperatorAnswer,
    /// The failing checks of /readyz by name, and why.
    #[serde(default)]
    pub failing: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AsOfAnswer {
    pub block_number: Option<u64>,
    pub syncing: bool,
}

/// Times are unix seconds of the chain.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundAnswer {
    pub round_id: Option<u64>,
    pub phase: Option<String>,
    pub participant_count: Option<u64>,
    #[serde(default, deserialize_with = "decimal")]
    pub total_pot_wei: Option<U256>,
    pub min_draw_time: Option<u64>,
    pub max_draw_time: Option<u64>,
    pub chain_time: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorAnswer {
    pub phase: String,
    pub in_flight: Option<FlightAnswer>,
    #[serde(default, deserialize_with = "decimal")]
    pub balance_wei: Option<U256>,
    pub alerts: Vec<AlertAnswer>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlightAnswer {
    pub action: String,
    pub round_id: u64,
    pub nonce: u64,
    pub attempts: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct AlertAnswer {
    pub code: String,
    pub severity: String,
    pub message: String,
}

/// 256-bit quantities travel as decimal strings.
fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<U256>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| U256::from_dec_str(&text).map_err(serde::de::Error::custom))
        .transpose()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    action_id: String,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalReason,
}

#[derive(Deserialize)]
struct RefusalReason {
    message: String,
}

/// A client of one daemon.
pub struct ApiClient {
    base: String,
    agent: ureq::Agent,
}

impl ApiClient {
    /// A client of the daemon that listens there; "any address" is reached on this machine.
    pub fn new(listens: SocketAddr) -> ApiClient {
        let mut address = listens;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWERS_WITHIN))
            .proxy(None)
            .build()
            .new_agent();
        ApiClient {
            base: format!("http://{address}"),
            agent,
        }
    }

    /// The running round's number.
    ///
    /// # Errors
    /// That nobody, somebody else, or an error answered.
    pub fn round_id(&self) -> Result<u64, ClientError> {
        let (_, round) = self.get::<RoundAnswer>("/api/round/status")?;
        round.round_id.ok_or(ClientError::NoRound)
    }

    /// Hands the daemon a manual action; the action's id.
    ///
    /// # Errors
    /// `Refused` with the status and the daemon's own words, or that nobody fit to answer did.
    pub fn act(
        &self,
        round_id: u64,
        kind: CommandKind,
        token: &Secret,
    ) -> Result<String, ClientError> {
        let (path, body) = match kind {
            CommandKind::Draw => ("/api/round/draw", json!({"roundId": round_id})),
            CommandKind::Refund { force } => (
                "/api/round/refund",
                json!({"roundId": round_id, "force": force}),
            ),
        };
        let request = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", token.expose()));
        let (_, accepted) = self.answer::<Accepted>(request.send(body.to_string()))?;
        Ok(accepted.action_id)
    }

    /// How an action stands, as the daemon told it and as far as it was understood.
    ///
    /// # Errors
    /// That nobody, somebody else, or an error answered.
    pub fn action(&self, id: &str) -> Result<(Value, ActionAnswer), ClientError> {
        self.get(&format!("/api/operator/actions/{id}"))
    }

    /// The daemon's status with the failing checks of its readiness, in JSON and as far as it was understood.
    ///
    /// # Errors
    /// That nobody, somebody else, or an error answered.
    pub fn status(&self) -> Result<(Value, StatusAnswer), ClientError> {
        let (mut status, _) = self.get::<StatusAnswer>("/api/status")?;
        // A probe that fails answers 503 with the same shape.
        let (_, probe) = self.read(self.agent.get(format!("{}/readyz", self.base)).call())?;
        status["failing"] = probe["failing"].clone();
        let foreign = |_| ClientError::Foreign {
            base: self.base.clone(),
        };
        let read = StatusAnswer::deserialize(&status).map_err(foreign)?;
        Ok((status, read))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<(Value, T), ClientError> {
        self.answer(self.agent.get(format!("{}{path}", self.base)).call())
    }

    fn answer<T: DeserializeOwned>(
        &self,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(Value, T), ClientError> {
        let foreign = |_| ClientError::Foreign {
            base: self.base.clone(),
        };
        let (status, value) = self.read(result)?;
        if !(200..300).contains(&status) {
            let refusal = Refusal::deserialize(&value).map_err(foreign)?;
            return Err(ClientError::Refused {
                status,
                message: refusal.error.message,
            });
        }
        let read = T::deserialize(&value).map_err(foreign)?;
        Ok((value, read))
    }

    /// Any answer in JSON, with its status.
    fn read(
        &self,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, Value), ClientError> {
        let base = || self.base.clone();
        let unreachable = |error| ClientError::Unreachable {
            base: base(),
            cause: match error {
                ureq::Error::Io(error) => error.to_string(),
                other => other.to_string(),
            },
        };
        let mut response = result.map_err(unreachable)?;
        let text = response.body_mut().read_to_string().map_err(unreachable)?;
        let foreign = |_| ClientError::Foreign { base: base() };
        let value = serde_json::from_str(&text).map_err(foreign)?;
        Ok((response.status().as_u16(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::H256;
    use crate::lottery::action::{ActionKind, ActionRecord, ActionState};
    use crate::web::view;

    #[test]
    fn an_action_is_read_as_it_was_written() {
        let mut record =
            ActionRecord::queued("7".to_owned(), ActionKind::RefundExpired, 3, true, 5_000);
        let read = |record: &ActionRecord| ActionAnswer::deserialize(view::action(record)).unwrap();
        assert!(!read(&record).has_ended());
        record.state = ActionState::Done;
        record.block_number = Some(9);
        record.hashes = vec![H256::repeat_byte(0xab)];
        let answer = read(&record);
        assert!(answer.is_done() && answer.has_ended());
        assert_eq!((answer.round_id, answer.block_number), (3, Some(9)));
        assert_eq!(answer.action, "refund_expired");
        assert_eq!(answer.hashes, [format!("{:#x}", H256::repeat_byte(0xab))]);
        record.state = ActionState::Failed;
        record.error = Some("why".to_owned());
        let answer = read(&record);
        assert!(answer.has_ended() && !answer.is_done());
        assert_eq!(answer.error.as_deref(), Some("why"));
    }

    #[test]
    fn a_status_is_read_as_it_was_written() {
        let snapshot = crate::web::fixture::snapshot();
        let deployment = crate::web::fixture::deployment();
        let now = std::time::Instant::now();
        let written = view::status(&snapshot, &deployment, now, 0);
        let read = StatusAnswer::deserialize(&written).unwrap();
        assert_eq!(
            read.as_of.block_number,
            snapshot.head.map(|head| head.number)
        );
        let round = snapshot.round.as_ref();
        assert_eq!(
            read.round.total_pot_wei,
            round.map(|round| round.total_pot_wei)
        );
        assert_eq!(read.operator.balance_wei, snapshot.operator.own.balance_wei);
        assert_eq!(read.operator.phase, snapshot.operator.own.phase);
        assert_eq!(read.operator.alerts.len(), snapshot.operator.alerts.len());
    }

    #[test]
    fn any_address_is_reached_on_this_machine() {
        for (listens, base) in [
            ("0.0.0.0:6080", "http://127.0.0.1:6080"),
            ("[::]:6080", "http://[::1]:6080"),
            ("10.0.0.1:80", "http://10.0.0.1:80"),
        ] {
            assert_eq!(ApiClient::new(listens.parse().unwrap()).base, base);
        }
    }
}
