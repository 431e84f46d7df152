//! What each route says, and why it refuses.

use std::time::Duration;

use serde_json::{json, Value};

use super::{code, message, with_state};
use crate::base::clock::Clock;
use crate::base::shutdown::Shutdown;
use crate::base::thread::{spawn_supervised, OnFailure};
use crate::lottery::action::{ActionKind, ActionState};
use crate::lottery::command::CommandKind;
use crate::lottery::round::RoundState;
use crate::lottery::snapshot::{Owed, Snapshot};
use crate::web::fixture::{self, header, json as body_of, Fixture, QUEUE_LEN, TOKEN};

#[test]
fn every_route_answers_with_its_fields() {
    let fixture = with_state();
    let player = "/api/round/player?player=0x0000000000000000000000000000000000000001";
    for (target, pointer, expected) in [
        ("/healthz", "/status", json!("ok")),
        ("/readyz", "/failing", json!({})),
        ("/api/health", "/endpoints/0/host", json!("node.example")),
        ("/api/health", "/drawOverdue", json!(false)),
        ("/api/health", "/ready/status", json!("ok")),
        ("/api/status", "/round/phase", json!("betting")),
        ("/api/status", "/lastRounds/0/roundId", json!(6)),
        ("/api/status", "/websocketClients", json!(3)),
        ("/api/status", "/chain/reorgs", json!(2)),
        ("/api/round/status", "/roundId", json!(7)),
        ("/api/round/status", "/minParticipants", json!(2)),
        ("/api/round/status", "/chainTime", json!(10_000)),
        ("/api/round/status", "/asOf/blockNumber", json!(1_000)),
        (
            "/api/round/participants",
            "/participants/0/totalAmountWei",
            json!("100000000000000000"),
        ),
        (
            "/api/round/participants",
            "/participants/0/share",
            json!(50.0),
        ),
        ("/api/round/participants", "/totalParticipants", json!(3)),
        (player, "/winRate", json!(35.0)),
        (
            player,
            "/player",
            json!("0x0000000000000000000000000000000000000001"),
        ),
        ("/api/history", "/rounds/0/verdict", json!("verified")),
        ("/api/history", "/rounds/0/finality", json!("latest")),
        (
            "/api/history",
            "/rounds/1/refundReason",
            json!("Insufficient participants"),
        ),
        ("/api/history", "/rounds/1/finality", json!("safe")),
        ("/api/history", "/rounds/2/finality", json!("finalized")),
        ("/api/history", "/summary/completedRounds", json!(3)),
        ("/api/history", "/nextBefore", json!(null)),
        ("/api/history/6", "/proof/drawDelaySeconds", json!(7)),
        ("/api/history/6", "/proof/inputs/number", json!(990)),
        (
            "/api/history/6",
            "/proof/inputs/numberSource",
            json!("opcode"),
        ),
        (
            "/api/history/6",
            "/proof/randomness",
            json!({"source": "opcode", "knownAhead": false}),
        ),
        (
            "/api/history/6",
            "/bets/1/amountWei",
            json!("60000000000000000"),
        ),
        ("/api/history/5", "/proof", json!(null)),
        ("/api/fairness", "/drawn", json!(3)),
        ("/api/fairness", "/verified", json!(3)),
        ("/api/fairness", "/unverifiable", json!(1)),
        ("/api/fairness", "/firstBlockDraws", json!(0)),
        ("/api/fairness", "/longestDelayBlocks", json!(1)),
        ("/api/fairness", "/randomnessKnownAhead", json!(false)),
        (
            "/api/history/3",
            "/verdictWhy",
            json!("the bets are out of reach"),
        ),
        (
            "/api/activities",
            "/activities/0/type",
            json!("operator_alert"),
        ),
        ("/api/activities", "/activities/1/type", json!("Withdrawn")),
        (
            "/api/contract/config",
            "/minBetWei",
            json!("1000000000000000"),
        ),
        ("/api/contract/address", "/chainId", json!(31_337)),
        ("/contracts/abi/Lottery.abi", "/0/type", json!("event")),
        ("/api/operator/status", "/inFlight/nonce", json!(12)),
        ("/api/operator/status", "/lastEventTime", json!(9_990)),
        ("/api/operator/actions/a-1", "/state", json!("done")),
        ("/api/openapi.json", "/openapi", json!("3.1.0")),
    ] {
        let reply = fixture.get(target);
        assert_eq!(reply.status, 200, "{target}");
        assert_eq!(
            header(&reply, "Content-Type"),
            Some("application/json"),
            "{target}"
        );
        let body = body_of(&reply);
        assert_eq!(body.pointer(pointer), Some(&expected), "{target} {pointer}");
    }
}

#[test]
fn pages() {
    let fixture = with_state();
    let column = |target: &str, list: &str, key: &str| -> Vec<Value> {
        let body = body_of(&fixture.get(target));
        body[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[key].clone())
            .collect()
    };
    let amounts = |query| {
        column(
            &format!("/api/round/participants?{query}"),
            "participants",
            "totalAmountWei",
        )
        .len()
    };
    assert_eq!(amounts("limit=1000"), 3);
    assert_eq!(amounts("limit=1&offset=2"), 1);
    assert_eq!(amounts("limit=2&offset=2"), 1);
    assert_eq!(amounts("offset=3"), 0);
    assert_eq!(amounts("offset=4294967295"), 0);

    let rounds = |query| column(&format!("/api/history?{query}"), "rounds", "roundId");
    assert_eq!(rounds("limit=20"), [6, 5, 4, 3]);
    assert_eq!(rounds("limit=2&before=6"), [5, 4]);
    assert_eq!(rounds("before=3"), Vec::<Value>::new());
    assert_eq!(rounds("before=18446744073709551615"), [6, 5, 4, 3]);
    let next =
        |query| body_of(&fixture.get(&format!("/api/history?{query}")))["nextBefore"].clone();
    assert_eq!(
        (next("limit=3"), next("limit=4"), next("limit=1&before=4")),
        (json!(4), json!(null), json!(null))
    );

    let mut walked = Vec::new();
    let mut target = "/api/activities?limit=5".to_owned();
    loop {
        let body = body_of(&fixture.get(&target));
        walked.extend(
            body["activities"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].clone()),
        );
        match body["nextBefore"].as_str() {
            Some(id) => target = format!("/api/activities?limit=5&before={id}"),
            None => break,
        }
    }
    assert_eq!(
        walked,
        column("/api/activities?limit=1000", "activities", "id")
    );
    assert_eq!(walked.len(), 12);
}

#[test]
fn rounds_that_are_not_told_say_why() {
    let mut syncing = fixture::snapshot();
    syncing.syncing = true;
    let (fixture, syncing) = (with_state(), Fixture::new(syncing));
    let empty = Fixture::new(fixture::empty_snapshot());
    for (asked, target, status, reason) in [
        (&fixture, "/api/history/7", 404, "not_finished"),
        (&fixture, "/api/history/8", 404, "unknown_round"),
        (
            &fixture,
            "/api/history/18446744073709551615",
            404,
            "unknown_round",
        ),
        (&fixture, "/api/history/2", 404, "not_kept"),
        (&fixture, "/api/history/0", 400, "bad_round"),
        (&fixture, "/api/history/-1", 400, "bad_round"),
        (&fixture, "/api/history/x", 400, "bad_round"),
        (
            &fixture,
            "/api/history/18446744073709551616",
            400,
            "bad_round",
        ),
        (&fixture, "/api/history/", 404, "not_found"),
        (&syncing, "/api/history/2", 503, "syncing"),
        (&empty, "/api/history/2", 503, "syncing"),
        (&empty, "/api/contract/config", 503, "syncing"),
        (&fixture, "/api/operator/actions/a-2", 404, "unknown_action"),
        (&fixture, "/metrics", 404, "not_found"),
        (&fixture, "/../etc/passwd", 404, "not_found"),
    ] {
        let reply = asked.get(target);
        assert_eq!(
            (reply.status, code(&reply).as_str()),
            (status, reason),
            "{target}"
        );
        assert_eq!(
            header(&reply, "Retry-After").is_some(),
            status == 503,
            "{target}"
        );
    }
    assert!(message(&fixture.get("/api/history/2")).contains("`lottery verify 2`"));
    let long = fixture.get(&format!("/{}", "x".repeat(5_000)));
    assert!(long.body.len() < 400);
}

#[test]
fn manual_actions_need_the_token() {
    let fixture = with_state();
    for (headers, said) in [
        (vec![], "is needed"),
        (
            vec![("authorization", "Bearer wrong")],
            "the token is wrong",
        ),
        (vec![("authorization", "Bearer ")], "the token is wrong"),
        (
            vec![("authorization", "Basic b3BlbiBzZXNhbWU=")],
            "is needed",
        ),
        (vec![("authorization", TOKEN)], "is needed"),
        (vec![("authorization", "open sesame")], "is needed"),
    ] {
        let reply = fixture.send("POST", "/api/round/draw", &headers, "{\"roundId\":7}");
        assert_eq!(
            (reply.status, code(&reply).as_str()),
            (401, "unauthorized"),
            "{headers:?}"
        );
        assert!(message(&reply).contains(said), "{headers:?}");
        assert_eq!(
            header(&reply, "WWW-Authenticate"),
            Some("Bearer realm=\"lottery\"")
        );
        assert!(!String::from_utf8_lossy(&reply.body).contains(TOKEN));
    }
    let mut without = with_state();
    without.api.config.token = None;
    let reply = without.post("/api/round/refund", "{\"roundId\":7}");
    assert_eq!(
        (reply.status, code(&reply).as_str()),
        (403, "no_token_configured")
    );
    assert!(message(&reply).contains("server.api_token_file"));
    assert!(fixture.commands.is_empty() && without.commands.is_empty());
}

#[test]
fn manual_actions_are_checked_against_the_snapshot() {
    let fixture = with_state();
    for (target, body, status, reason) in [
        ("/api/round/draw", "", 400, "bad_body"),
        (
            "/api/round/draw",
            "{\"roundId\":7,\"force\":true}",
            400,
            "bad_body",
        ),
        ("/api/round/draw?now", "{\"roundId\":7}", 409, "too_early"),
        ("/api/round/draw", "{\"roundId\":6}", 409, "not_running"),
        ("/api/round/draw", "{\"roundId\":7}", 409, "too_early"),
        ("/api/round/refund", "{\"roundId\":7}", 409, "needs_force"),
        (
            "/api/round/refund",
            "{\"roundId\":7,\"force\":false}",
            409,
            "needs_force",
        ),
    ] {
        let reply = fixture.post(target, body);
        assert_eq!(
            (reply.status, code(&reply).as_str()),
            (status, reason),
            "{target} {body}"
        );
    }
    // To the last second of the window, by chain time carried forward.
    fixture.clock.advance(Duration::from_secs(260));
    assert_eq!(
        fixture.post("/api/round/draw", "{\"roundId\":7}").status,
        202
    );
    fixture.clock.advance(Duration::from_secs(1));
    let late = fixture.post("/api/round/draw", "{\"roundId\":7}");
    assert_eq!((late.status, code(&late).as_str()), (409, "too_late"));
    assert_eq!(
        fixture.post("/api/round/refund", "{\"roundId\":7}").status,
        202
    );
    assert_eq!(fixture.commands.try_iter().count(), 2);

    let mut other = fixture::snapshot();
    other.round.as_mut().unwrap().state = RoundState::Waiting;
    let reply = Fixture::new(other).post("/api/round/draw", "{\"roundId\":7}");
    assert_eq!((reply.status, code(&reply).as_str()), (409, "not_betting"));
    let mut other = fixture::snapshot();
    other.round.as_mut().unwrap().total_pot_wei = 0.into();
    let reply = Fixture::new(other).post("/api/round/refund", "{\"roundId\":7,\"force\":true}");
    assert_eq!((reply.status, code(&reply).as_str()), (409, "no_bets"));
    let reply = Fixture::new(fixture::empty_snapshot()).post("/api/round/draw", "{\"roundId\":7}");
    assert_eq!((reply.status, code(&reply).as_str()), (503, "syncing"));
}

#[test]
fn an_accepted_action_can_be_asked_for_at_once() {
    let fixture = with_state();
    let reply = fixture.post("/api/round/refund", "{\"roundId\":7,\"force\":true}");
    assert_eq!(reply.status, 202);
    let body = body_of(&reply);
    let location = header(&reply, "Location").unwrap();
    assert_eq!(body["location"], location);
    let command = fixture.commands.try_recv().unwrap();
    assert_eq!(command.kind, CommandKind::Refund { force: true });
    assert_eq!(
        (command.round_id, json!(command.action_id)),
        (7, body["actionId"].clone())
    );
    let action = body_of(&fixture.get(location));
    assert_eq!(action["state"], ActionState::Queued.label());
    assert_eq!(action["action"], ActionKind::RefundForced.label());

    for _ in 0..QUEUE_LEN {
        assert_eq!(
            fixture
                .post("/api/round/refund", "{\"roundId\":7,\"force\":true}")
                .status,
            202
        );
    }
    let busy = fixture.post("/api/round/refund", "{\"roundId\":7,\"force\":true}");
    assert_eq!((busy.status, code(&busy).as_str()), (503, "busy"));
    assert_eq!(header(&busy, "Retry-After"), Some("5"));
}

#[test]
fn readiness_names_what_fails() {
    let failing = |change: &dyn Fn(&mut Snapshot), wait_secs| -> Vec<String> {
        let mut snapshot = fixture::snapshot();
        change(&mut snapshot);
        let fixture = Fixture::new(snapshot);
        fixture.clock.advance(Duration::from_secs(wait_secs));
        let reply = fixture.get("/readyz");
        let body = body_of(&reply);
        let names: Vec<String> = body["failing"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(reply.status, if names.is_empty() { 200 } else { 503 });
        assert_eq!(body_of(&fixture.get("/api/health"))["ready"], body);
        names
    };
    let cut_off = |snapshot: &mut Snapshot| snapshot.connection.reachable = false;
    assert_eq!(failing(&|_| {}, 0), [""; 0]);
    assert_eq!(failing(&cut_off, 60), [""; 0]);
    assert_eq!(failing(&cut_off, 61), ["chain_fresh"]);
    // A chain that mines on demand stands still.
    assert_eq!(failing(&|_| {}, 3_600), [""; 0]);
    let slow = |snapshot: &mut Snapshot| {
        cut_off(snapshot);
        snapshot.schedule.mean_spacing_secs = Some(100.0);
    };
    assert_eq!(failing(&slow, 300), [""; 0]);
    assert_eq!(failing(&slow, 301), ["chain_fresh"]);
    let awaited = |is_awaited: bool| {
        move |snapshot: &mut Snapshot| {
            snapshot.syncing = true;
            snapshot.owed = Owed {
                is_awaited,
                ..Owed::everything()
            };
        }
    };
    assert_eq!(failing(&awaited(true), 0), ["synced"]);
    // History that does not come keeps nobody waiting for ever.
    assert_eq!(failing(&awaited(false), 0), [""; 0]);
    let other_operator = |snapshot: &mut Snapshot| {
        let mut config = fixture::config();
        config.operator = fixture::address(99);
        snapshot.config = Some(config.into());
    };
    assert_eq!(failing(&other_operator, 0), ["operator_key"]);
    assert_eq!(
        failing(&|snapshot| *snapshot = fixture::empty_snapshot(), 0),
        ["chain_fresh", "synced"]
    );

    // Why nothing can be read at all is named as far as it is known.
    let mut snapshot = fixture::empty_snapshot();
    let hole = "no contract at 0x00000000000000000000000000000000000000AA on chain 31337";
    snapshot.connection.problem = Some(hole.to_owned());
    let told = body_of(&Fixture::new(snapshot).get("/readyz"));
    assert_eq!(told["failing"]["chain_fresh"], hole);

    let mut snapshot = fixture::snapshot();
    other_operator(&mut snapshot);
    let mut without_key = Fixture::new(snapshot);
    without_key.api.config.key_address = None;
    assert_eq!(without_key.get("/readyz").status, 200);
}

#[test]
fn health_names_the_thread_that_does_not_turn() {
    let fixture = with_state();
    let shutdown = Shutdown::new();
    let body = |_: &crate::base::thread::Beat| Err("broken".to_owned());
    let thread = spawn_supervised(
        "store",
        &Clock::system(),
        &fixture.api.health,
        &shutdown,
        OnFailure::EndProcess,
        body,
    );
    assert!(thread.unwrap().join(Duration::from_secs(10)));
    let reply = fixture.get("/healthz");
    assert_eq!(reply.status, 503);
    assert_eq!(
        body_of(&reply),
        json!({"status": "failing", "failing": {"store": "broken"}})
    );
    let health = body_of(&fixture.get("/api/health"));
    assert_eq!(
        (&health["healthy"], &health["components"][0]["turning"]),
        (&json!(false), &json!(false))
    );
    // The page stays up: the daemon's own troubles are for those who run it.
    assert_eq!(fixture.get("/readyz").status, 200);
}

#[test]
fn an_overdue_draw_fails_nothing_but_is_told() {
    let fixture = with_state();
    fixture.clock.advance(Duration::from_secs(261));
    assert_eq!(body_of(&fixture.get("/api/health"))["drawOverdue"], true);
    assert_eq!(
        body_of(&fixture.get("/api/round/status"))["phase"],
        "overdue"
    );
    assert_eq!(fixture.get("/readyz").status, 200);
}
