//! Manual actions: who may ask, what the body must be, and whether the snapshot lets the contract accept it now. Pure.

use serde_json::Value;

use crate::config::Secret;
use crate::lottery::round::{Phase, Round, RoundState};
use crate::web::http::Request;
use crate::web::reply::{refusal, Refusal};

/// A manual action as its body asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Draw { round_id: u64 },
    Refund { round_id: u64, force: bool },
}

impl Asked {
    pub fn round_id(self) -> u64 {
        match self {
            Asked::Draw { round_id } | Asked::Refund { round_id, .. } => round_id,
        }
    }
}

/// Lets the holder of the token pass.
pub fn authorize(request: &Request, token: Option<&Secret>) -> Result<(), Refusal> {
    let Some(token) = token else {
        let message = "manual actions are off: set server.api_token_file to a file with a token";
        return Err(refusal(403, "no_token_configured", message.to_owned()));
    };
    let given = request.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let message = match given {
        Some(given) if is_equal_in_constant_time(given.as_bytes(), token.expose().as_bytes()) => {
            return Ok(())
        }
        Some(_) => "the token is wrong",
        None => "an Authorization header with the scheme Bearer and the token is needed",
    };
    Err(Refusal {
        headers: vec![("WWW-Authenticate", "Bearer realm=\"lottery\"".to_owned())],
        ..refusal(401, "unauthorized", message.to_owned())
    })
}

pub fn parse_draw(body: &[u8]) -> Result<Asked, Refusal> {
    let (round_id, _) = parse(body, "{\"roundId\": N}", false)?;
    Ok(Asked::Draw { round_id })
}

pub fn parse_refund(body: &[u8]) -> Result<Asked, Refusal> {
    let (round_id, force) = parse(body, "{\"roundId\": N, \"force\": true or false}", true)?;
    Ok(Asked::Refund { round_id, force })
}

fn parse(body: &[u8], shape: &str, takes_force: bool) -> Result<(u64, bool), Refusal> {
    let bad = |message: String| refusal(400, "bad_body", message);
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(bad(format!("the body must be {shape}")));
    };
    let (mut round_id, mut force) = (None, false);
    for (key, value) in &fields {
        match (key.as_str(), value) {
            ("roundId", value) => {
                round_id = value.as_u64().filter(|id| *id > 0);
                if round_id.is_none() {
                    let value = shown(&value.to_string());
                    let message = format!("roundId is {value}, allowed are whole numbers from 1");
                    return Err(bad(message));
                }
            }
            ("force", Value::Bool(flag)) if takes_force => force = *flag,
            ("force", value) if takes_force => {
                let value = shown(&value.to_string());
                return Err(bad(format!("force is {value}, allowed are true and false")));
            }
            (key, _) => {
                let message = format!("{} is not known, the body must be {shape}", shown(key));
                return Err(bad(message));
            }
        }
    }
    let missing = || bad(format!("roundId is missing, the body must be {shape}"));
    Ok((round_id.ok_or_else(missing)?, force))
}

/// As much of what was sent as an error needs to show.
pub fn shown(text: &str) -> String {
    const LEN_MAX: usize = 80;
    match text.char_indices().nth(LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether the contract could accept the action at `chain_time`.
pub fn check(asked: Asked, round: &Round, chain_time: u64) -> Result<(), Refusal> {
    let conflict = |code, message| Err(refusal(409, code, message));
    let round_id = asked.round_id();
    if round_id != round.round_id {
        let running = round.round_id;
        let message = format!("round {round_id} is not running, round {running} is");
        return conflict("not_running", message);
    }
    if round.state != RoundState::Betting {
        let state = round.state.label();
        let message = format!("round {round_id} is {state}, it must be BETTING");
        return conflict("not_betting", message);
    }
    if round.total_pot_wei.is_zero() {
        let message = format!("round {round_id} has no bets: there is nothing to draw or refund");
        return conflict("no_bets", message);
    }
    let (opens, closes) = (round.min_draw_time, round.max_draw_time);
    match (asked, round.phase(chain_time)) {
        (Asked::Draw { .. }, Phase::DrawWindow)
        | (Asked::Refund { .. }, Phase::Overdue)
        | (Asked::Refund { force: true, .. }, _) => Ok(()),
        (Asked::Draw { .. }, Phase::Overdue) => conflict(
            "too_late",
            format!("the draw window closed at {closes}, chain time is {chain_time}: only a refund is left"),
        ),
        (Asked::Draw { .. }, _) => conflict(
            "too_early",
            format!("the draw window opens at {opens}, chain time is {chain_time}: try again then"),
        ),
        (Asked::Refund { force: false, .. }, _) => conflict(
            "needs_force",
            format!(
                "round {round_id} can be drawn until {closes}, chain time is {chain_time}: wait until then, or \
                 refund it all the same with \"force\": true"
            ),
        ),
    }
}

/// The time taken depends on the length of what was given alone.
fn is_equal_in_constant_time(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = given.len() ^ secret.len();
    for (place, byte) in given.iter().enumerate() {
        let other = secret
            .get(place % secret.len().max(1))
            .copied()
            .unwrap_or(0);
        difference |= usize::from(byte ^ other);
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::types::U256;

    #[test]
    fn secrets_are_compared_whole() {
        for (given, secret, equal) in [
            ("abc", "abc", true),
            ("abd", "abc", false),
            ("ab", "abc", false),
            ("abcabc", "abc", false),
            ("", "abc", false),
            ("", "", true),
            ("a", "", false),
        ] {
            let found = is_equal_in_constant_time(given.as_bytes(), secret.as_bytes());
            assert_eq!(found, equal, "{given} {secret}");
        }
    }

    #[test]
    fn bodies() {
        let draw = |body: &str| parse_draw(body.as_bytes()).map_err(|refusal| refusal.message);
        let refund = |body: &str| parse_refund(body.as_bytes()).map_err(|refusal| refusal.message);
        assert_eq!(draw("{\"roundId\": 7}"), Ok(Asked::Draw { round_id: 7 }));
        for (body, force) in [
            ("{\"roundId\":7}", false),
            ("{\"roundId\":7,\"force\":false}", false),
            ("{\"force\":true,\"roundId\":7}", true),
        ] {
            assert_eq!(refund(body), Ok(Asked::Refund { round_id: 7, force }));
        }
        for (refused, named) in [
            (draw(""), "the body must be {\"roundId\": N}"),
            (draw("[7]"), "the body must be"),
            (draw("{}"), "roundId is missing"),
            (
                draw("{\"roundId\":0}"),
                "roundId is 0, allowed are whole numbers from 1",
            ),
            (draw("{\"roundId\":-1}"), "roundId is -1"),
            (draw("{\"roundId\":1.5}"), "roundId is 1.5"),
            (draw("{\"roundId\":\"7\"}"), "roundId is \"7\""),
            (draw("{\"roundId\":99999999999999999999}"), "roundId is"),
            (draw("{\"roundId\":7,\"force\":true}"), "force is not known"),
            (
                refund("{\"roundId\":7,\"force\":1}"),
                "force is 1, allowed are true and false",
            ),
        ] {
            let message = refused.unwrap_err();
            assert!(message.contains(named), "{message}");
        }
        let long = draw(&format!("{{\"{}\":1}}", "é".repeat(5_000))).unwrap_err();
        assert!(long.len() < 300 && long.contains('…'), "{long}");
    }

    #[test]
    fn every_conflict_has_its_reason() {
        let round = |state, pot: u64| Round {
            round_id: 7,
            state,
            start_time: 1_000,
            end_time: 1_180,
            min_draw_time: 1_185,
            max_draw_time: 1_360,
            total_pot_wei: U256::from(pot),
            participant_count: 2,
        };
        let running = round(RoundState::Betting, 5);
        let draw = Asked::Draw { round_id: 7 };
        let refund = |force| Asked::Refund { round_id: 7, force };
        let table = [
            (
                Asked::Draw { round_id: 6 },
                &running,
                1_200,
                Some("not_running"),
            ),
            (
                Asked::Refund {
                    round_id: 8,
                    force: true,
                },
                &running,
                1_400,
                Some("not_running"),
            ),
            (
                draw,
                &round(RoundState::Waiting, 0),
                1_200,
                Some("not_betting"),
            ),
            (draw, &round(RoundState::Betting, 0), 1_200, Some("no_bets")),
            (
                refund(true),
                &round(RoundState::Betting, 0),
                1_400,
                Some("no_bets"),
            ),
            (draw, &running, 1_180, Some("too_early")),
            (draw, &running, 1_184, Some("too_early")),
            (draw, &running, 1_185, None),
            (draw, &running, 1_360, None),
            (draw, &running, 1_361, Some("too_late")),
            (refund(false), &running, 1_100, Some("needs_force")),
            (refund(false), &running, 1_360, Some("needs_force")),
            (refund(false), &running, 1_361, None),
            (refund(true), &running, 1_100, None),
            (refund(true), &running, 1_361, None),
        ];
        for (asked, round, chain_time, expected) in table {
            let found = check(asked, round, chain_time).err();
            assert!(found.iter().all(|refusal| refusal.status == 409));
            let code = found.map(|refusal| refusal.code);
            assert_eq!(code, expected, "{asked:?} at {chain_time}");
        }
        let other = check(Asked::Draw { round_id: 6 }, &running, 1_200).unwrap_err();
        assert!(other.message.contains("round 7 is"), "{}", other.message);
    }
}
