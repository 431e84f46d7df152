//! The one table of what is served: the router finds a path in it, and the API's description is made of it.

/// What answers a request; every row of the table has its own, so a row that nothing answers does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Healthz,
    Readyz,
    Health,
    Status,
    RoundStatus,
    Participants,
    Player,
    Draw,
    Refund,
    History,
    FinishedRound,
    Activities,
    Fairness,
    ContractConfig,
    ContractAddress,
    Abi,
    OperatorStatus,
    Action,
    OpenApi,
}

pub struct Route {
    pub endpoint: Endpoint,
    /// The last part may be a parameter in braces.
    pub path: &'static str,
    pub summary: &'static str,
    pub parameters: &'static [Parameter],
    /// The name of the answer's schema.
    pub schema: &'static str,
    /// The refusals that belong to this route, beside those of every route.
    pub refusals: &'static [(u16, &'static str)],
}

/// A parameter of the query.
pub struct Parameter {
    pub name: &'static str,
    pub is_required: bool,
    pub kind: ParameterKind,
    pub meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    Number {
        min: u64,
        max: u64,
    },
    Address,
    /// An amount from 1 up.
    Wei,
    Text,
}

impl Route {
    /// Manual actions are the only routes that change anything.
    pub(crate) fn is_command(&self) -> bool {
        matches!(self.endpoint, Endpoint::Draw | Endpoint::Refund)
    }

    /// The others look at the daemon itself, or change something.
    pub(crate) fn is_of_snapshot(&self) -> bool {
        matches!(
            self.endpoint,
            Endpoint::RoundStatus
                | Endpoint::Participants
                | Endpoint::Player
                | Endpoint::History
                | Endpoint::FinishedRound
                | Endpoint::Activities
                | Endpoint::Fairness
                | Endpoint::ContractConfig
                | Endpoint::ContractAddress
                | Endpoint::Abi
                | Endpoint::OperatorStatus
                | Endpoint::OpenApi
        )
    }

    /// The path's parameter: (text before it, its name).
    pub(crate) fn path_parameter(&self) -> Option<(&'static str, &'static str)> {
        let (before, name) = self.path.strip_suffix('}')?.rsplit_once('{')?;
        Some((before, name))
    }
}

/// Whether the path is the feed's, which is no route: it is asked for by a WebSocket handshake.
pub(crate) fn is_feed(path: &str) -> bool {
    matches!(path, "/ws/lottery" | "/ws")
}

/// The route of `path`, and what stands in the place of its parameter (empty for a route without one).
pub fn find(path: &str) -> Option<(&'static Route, &str)> {
    ROUTES
        .iter()
        .find_map(|route| match route.path_parameter() {
            None => (route.path == path).then_some((route, "")),
            Some((before, _)) => path
                .strip_prefix(before)
                .filter(|value| !value.is_empty() && !value.contains('/'))
                .map(|value| (route, value)),
        })
}

/// Of the feed's handshake.
pub(crate) const FEED_PARAMETERS: &[Parameter] = &[Parameter {
    name: "since",
    is_required: false,
    kind: ParameterKind::Text,
    meaning: "EPOCH:SEQ of the last message that was taken: what came after it is told, or a snapshot that says resync",
}];

/// Of a bet's QR code.
pub(crate) const BET_PARAMETERS: &[Parameter] = &[Parameter {
    name: "amountWei",
    is_required: true,
    kind: ParameterKind::Wei,
    meaning: "the bet, in wei",
}];

/// The longest page of a list.
pub(crate) const LEN_MAX: u64 = 1_000;
pub(crate) const OFFSET_MAX: u64 = u32::MAX as u64;

const NOT_READ_YET: (u16, &str) = (503, "the chain has not been read yet");
const FAILING: (u16, &str) = (503, "something fails: the answer names it");

const COMMAND_REFUSALS: &[(u16, &str)] = &[
    (401, "the token is missing or wrong"),
    (403, "no token is configured, so manual actions are off"),
    (
        409,
        "it is not the running round, or its state or time forbids the action",
    ),
    (
        503,
        "the operator is busy, or the chain has not been read yet",
    ),
];

const fn limit(max: u64, meaning: &'static str) -> Parameter {
    Parameter {
        name: "limit",
        is_required: false,
        kind: ParameterKind::Number { min: 1, max },
        meaning,
    }
}

pub(crate) const ROUTES: &[Route] = &[
    Route {
        endpoint: Endpoint::Healthz,
        path: "/healthz",
        summary: "200 while every thread turns",
        parameters: &[],
        schema: "Checks",
        refusals: &[FAILING],
    },
    Route {
        endpoint: Endpoint::Readyz,
        path: "/readyz",
        summary: "200 when the chain is fresh, all logs are read, and the key is the contract's operator",
        parameters: &[],
        schema: "Checks",
        refusals: &[FAILING],
    },
    Route {
        endpoint: Endpoint::Health,
        path: "/api/health",
        summary: "Threads, endpoints (hosts only), ages and versions",
        parameters: &[],
        schema: "Health",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::Status,
        path: "/api/status",
        summary: "Round, participant totals, last five rounds, operator, chain and number of feed clients",
        parameters: &[],
        schema: "Status",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::RoundStatus,
        path: "/api/round/status",
        summary: "The running round and its phase at chain time; all null before the first block",
        parameters: &[],
        schema: "RoundStatus",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::Participants,
        path: "/api/round/participants",
        summary: "Participants by amount, descending, then by first bet",
        parameters: &[
            limit(LEN_MAX, "1 to 1000, 200 unless given"),
            Parameter {
                name: "offset",
                is_required: false,
                kind: ParameterKind::Number {
                    min: 0,
                    max: OFFSET_MAX,
                },
                meaning: "how many to pass over, 0 unless given",
            },
        ],
        schema: "Participants",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::Player,
        path: "/api/round/player",
        summary: "One player's bets in the running round and chance (percent of the pot)",
        parameters: &[Parameter {
            name: "player",
            is_required: true,
            kind: ParameterKind::Address,
            meaning: "the player's address",
        }],
        schema: "Player",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::Draw,
        path: "/api/round/draw",
        summary: "Asks the operator to draw the running round",
        parameters: &[],
        schema: "Accepted",
        refusals: COMMAND_REFUSALS,
    },
    Route {
        endpoint: Endpoint::Refund,
        path: "/api/round/refund",
        summary: "Asks the operator to refund the running round; before the draw window is over only with force",
        parameters: &[],
        schema: "Accepted",
        refusals: COMMAND_REFUSALS,
    },
    Route {
        endpoint: Endpoint::History,
        path: "/api/history",
        summary: "Finished rounds, newest first",
        parameters: &[
            limit(LEN_MAX, "1 to round_history_max, 20 (or that maximum) unless given"),
            Parameter {
                name: "before",
                is_required: false,
                kind: ParameterKind::Number {
                    min: 1,
                    max: u64::MAX,
                },
                meaning: "only rounds below this number",
            },
        ],
        schema: "History",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::FinishedRound,
        path: "/api/history/{roundId}",
        summary: "One finished round with its bets, its draw and its proof",
        parameters: &[Parameter {
            name: "of",
            is_required: false,
            kind: ParameterKind::Text,
            meaning: "chainId-contract-genesis of the deployment, the genesis hash by its first 16 hex digits: an answer \
                      that never changes again then says so, and is as of no block",
        }],
        schema: "FinishedRound",
        refusals: &[
            (404, "not_finished, not_kept (older than what is kept), unknown_round or other_deployment"),
            NOT_READ_YET,
        ],
    },
    Route {
        endpoint: Endpoint::Activities,
        path: "/api/activities",
        summary: "The live feed, newest first",
        parameters: &[
            limit(LEN_MAX, "1 to 1000, 50 unless given"),
            Parameter {
                name: "before",
                is_required: false,
                kind: ParameterKind::Text,
                meaning: "only items older than the one of this id",
            },
        ],
        schema: "Activities",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::Fairness,
        path: "/api/fairness",
        summary: "How fairly the kept rounds were drawn, in figures",
        parameters: &[],
        schema: "Fairness",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::ContractConfig,
        path: "/api/contract/config",
        summary: "The contract's configuration",
        parameters: &[],
        schema: "ContractConfigStatus",
        refusals: &[NOT_READ_YET],
    },
    Route {
        endpoint: Endpoint::ContractAddress,
        path: "/api/contract/address",
        summary: "The contract's address and chain",
        parameters: &[],
        schema: "ContractAddress",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::Abi,
        path: "/contracts/abi/Lottery.abi",
        summary: "The contract's ABI",
        parameters: &[],
        schema: "Abi",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::OperatorStatus,
        path: "/api/operator/status",
        summary: "The operator: what it waits for or does, what is in flight, its alerts",
        parameters: &[],
        schema: "OperatorStatus",
        refusals: &[],
    },
    Route {
        endpoint: Endpoint::Action,
        path: "/api/operator/actions/{id}",
        summary: "One action: its state, transactions and error; the last 100 are kept",
        parameters: &[],
        schema: "Action",
        refusals: &[(404, "no action of this id is among those that are kept")],
    },
    Route {
        endpoint: Endpoint::OpenApi,
        path: "/api/openapi.json",
        summary: "This document",
        parameters: &[],
        schema: "Document",
        refusals: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_routes() {
        for (path, endpoint, value) in [
            ("/healthz", Some(Endpoint::Healthz), ""),
            ("/api/history", Some(Endpoint::History), ""),
            ("/api/history/7", Some(Endpoint::FinishedRound), "7"),
            ("/api/operator/actions/ab-1", Some(Endpoint::Action), "ab-1"),
            ("/api/history/", None, ""),
            ("/api/history/7/", None, ""),
            ("/api/history/{roundId}/x", None, ""),
            ("/healthz/", None, ""),
            ("", None, ""),
        ] {
            let found = find(path);
            assert_eq!(found.map(|(route, _)| route.endpoint), endpoint, "{path}");
            assert_eq!(found.map_or("", |(_, value)| value), value, "{path}");
        }
    }
}
