//! Manual actions: who may ask, what the body must be, and whether the snapshot lets the contract accept it now. Pure.

use std::time::{Duration, Instant};

use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::base::members::Members;
use crate::config::Secret;
use crate::lottery::command::{admit, CommandKind, Grounds};
use crate::lottery::round::Round;
use crate::lottery::snapshot::Snapshot;
use crate::web::http::{Port, Request};
use crate::web::reply::{refusal, Refusal};
use crate::web::routes;
use crate::web::shown::shown;

/// How long the answer to a wrong token is held back.
const WRONG_TOKEN_DELAY: Duration = Duration::from_secs(1);

/// A manual action as its body asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub round_id: u64,
    pub kind: CommandKind,
}

/// Whether the head of a request is good enough for its body to be taken: a manual action, asked for by the holder of the
/// token. All else is judged by the head alone.
pub fn takes_body(request: &Request, token: Option<&Secret>) -> bool {
    let is_command = routes::find(&request.path).is_some_and(|(route, _)| route.is_command());
    request.port == Port::Public
        && is_command
        && request.method == "POST"
        && authorize(request, token).is_ok()
}

/// Lets the holder of the token pass.
pub(crate) fn authorize(request: &Request, token: Option<&Secret>) -> Result<(), Refusal> {
    let Some(token) = token else {
        let message = "manual actions are off: set server.api_token_file to a file with a token";
        return Err(refusal(403, "no_token_configured", message.to_owned()));
    };
    let given = request.fields.only("authorization").and_then(|value| {
        let space = value.iter().position(|byte| *byte == b' ');
        let (scheme, token) = value.split_at(space.unwrap_or(value.len()));
        scheme
            .eq_ignore_ascii_case(b"bearer")
            .then(|| token.trim_ascii())
    });
    let (message, delay) = match given {
        Some(given) if bool::from(given.ct_eq(token.expose().as_bytes())) => return Ok(()),
        Some(_) => ("the token is wrong", WRONG_TOKEN_DELAY),
        None => (
            "an Authorization header with the scheme Bearer and the token is needed",
            Duration::ZERO,
        ),
    };
    Err(Refusal {
        headers: vec![("WWW-Authenticate", "Bearer realm=\"lottery\"".to_owned())],
        delay,
        ..refusal(401, "unauthorized", message.to_owned())
    })
}

pub(crate) fn parse_draw(body: &[u8]) -> Result<Asked, Refusal> {
    let (round_id, _) = parse(body, "{\"roundId\": N}", false)?;
    let kind = CommandKind::Draw;
    Ok(Asked { round_id, kind })
}

pub(crate) fn parse_refund(body: &[u8]) -> Result<Asked, Refusal> {
    let (round_id, force) = parse(body, "{\"roundId\": N, \"force\": true or false}", true)?;
    let kind = CommandKind::Refund { force };
    Ok(Asked { round_id, kind })
}

fn parse(body: &[u8], shape: &str, takes_force: bool) -> Result<(u64, bool), Refusal> {
    let bad = |message: String| refusal(400, "bad_body", message);
    let Ok(Members::<Value>(members)) = serde_json::from_slice(body) else {
        return Err(bad(format!("the body must be {shape}")));
    };
    let (mut round_id, mut force) = (None, false);
    for (index, (key, value)) in members.iter().enumerate() {
        if members[..index].iter().any(|(known, _)| known == key) {
            // Of two numbers nobody knows which one was meant.
            return Err(bad(format!("{} is given twice", shown(key))));
        }
        match (key.as_str(), value) {
            ("roundId", value) => {
                round_id = whole(value).filter(|id| *id > 0);
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

/// A whole number, however it is written: to JSON 7.0 is one.
fn whole(value: &Value) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    let float = value
        .as_f64()
        .filter(|float| float.fract() == 0.0 && (0.0..=EXACT_MAX).contains(float));
    // Within these bounds a float is exactly the integer that it names.
    value.as_u64().or(float.map(|float| float as u64))
}

/// Whether the command may be handed to the operator, by the rule that the operator itself will ask.
///
/// # Errors
/// 409 with the reason's own code and text.
pub fn check(
    asked: Asked,
    snapshot: &Snapshot,
    round: &Round,
    now: Instant,
) -> Result<(), Refusal> {
    let grounds = Grounds {
        round,
        chain_time: snapshot.chain_time_at(now),
        key_loaded: snapshot.operator.own.key_loaded,
        // What is out may have ended when the command's turn comes.
        in_flight: None,
    };
    match admit(asked.round_id, asked.kind, &grounds) {
        Ok(_) => Ok(()),
        Err(refused) => Err(refusal(409, refused.code(), refused.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::fixture;

    #[test]
    fn a_token_is_compared_whole_and_a_wrong_one_is_answered_late() {
        let ask = |method: &str, target: &str, given: &[&str], token: Option<&str>| {
            let lines: Vec<(&str, &str)> =
                given.iter().map(|line| ("authorization", *line)).collect();
            let request = fixture::request(method, target, &lines, "");
            let token = token.map(|token| Secret::new(token.to_owned()));
            let refused = authorize(&request, token.as_ref()).err();
            let takes = takes_body(&request, token.as_ref());
            let told = refused.map(|refusal| (refusal.status, !refusal.delay.is_zero()));
            (told, takes)
        };
        let draw = "/api/round/draw";
        for (given, token, told) in [
            (&["Bearer abc"][..], Some("abc"), None),
            (&["bearer  abc "], Some("abc"), None),
            (&["Bearer abd"], Some("abc"), Some((401, true))),
            (&["Bearer ab"], Some("abc"), Some((401, true))),
            (&["Bearer abcabc"], Some("abc"), Some((401, true))),
            (&["Bearer "], Some("abc"), Some((401, true))),
            (&["Basic abc"], Some("abc"), Some((401, false))),
            (
                &["Bearer abc", "Bearer abc"],
                Some("abc"),
                Some((401, false)),
            ),
            (&[], Some("abc"), Some((401, false))),
            (&["Bearer abc"], None, Some((403, false))),
        ] {
            let expected = (told, told.is_none());
            assert_eq!(ask("POST", draw, given, token), expected, "{given:?}");
        }
        for (method, target) in [("GET", draw), ("POST", "/"), ("POST", "/api/round/drawn")] {
            assert_eq!(
                ask(method, target, &["Bearer abc"], Some("abc")),
                (None, false)
            );
        }
    }

    #[test]
    fn bodies() {
        let draw = |body: &str| parse_draw(body.as_bytes()).map_err(|refusal| refusal.message);
        let refund = |body: &str| parse_refund(body.as_bytes()).map_err(|refusal| refusal.message);
        assert_eq!(
            draw("{\"roundId\": 7}"),
            Ok(Asked {
                round_id: 7,
                kind: CommandKind::Draw
            })
        );
        for (body, force) in [
            ("{\"roundId\":7}", false),
            ("{\"roundId\":7,\"force\":false}", false),
            ("{\"force\":true,\"roundId\":7}", true),
        ] {
            assert_eq!(
                refund(body),
                Ok(Asked {
                    round_id: 7,
                    kind: CommandKind::Refund { force }
                })
            );
        }
        for (refused, named) in [
            (draw(""), "the body must be {\"roundId\": N}"),
            (draw("[7]"), "the body must be"),
            (draw("{}"), "roundId is missing"),
            (
                draw("{\"roundId\":7,\"roundId\":7}"),
                "roundId is given twice",
            ),
            (draw("{\"roundId\":7}{}"), "the body must be"),
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
}
