//! The test contract behaves as the deployed one does: every guard with its words and their order, the events of a
//! round's life, the ways in which money can be locked for ever, and the gas that players cost.

use ethabi::{Contract, Token};
use lottery::chain::encode::encode_hex;
use lottery::chain::error::{classify, ErrorKind};
use lottery::chain::method::Method;
use lottery::chain::types::{Address, H256, U256};
use lottery::lottery::contract::ABI_JSON;
use lottery::lottery::round::RoundState;
use serde_json::{json, Value};

use support::chain::{hex_address, Chain, Lottery, Timing, OPERATOR};
use support::BET_WEI;

const PUBLISHER: usize = 0;
const PLAYER: usize = 2;

// What the contract says in more than one state.
const NOT_BETTING: Option<&str> = Some("Betting not active");
const ALREADY_ENDED: Option<&str> = Some("Betting period already ended");
const NOT_WAITING: Option<&str> = Some("Must be in waiting state to start new round");

fn chain() -> Chain {
    Chain::devchain_with(devchain::Config {
        genesis_timestamp: Some(2_000_000_000),
        more_accounts: 60,
        ..Default::default()
    })
}

fn calldata(function: &str, arguments: &[Token]) -> String {
    let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
    let function = abi.function(function).unwrap();
    encode_hex(&function.encode_input(arguments).unwrap())
}

/// The revert string that the call would meet at chain time `now`; None when it would pass.
fn refusal(
    lottery: &Lottery,
    account: usize,
    (function, arguments): (&str, &[Token]),
    wei: u64,
    now: u64,
) -> Option<String> {
    let call = json!({
        "from": hex_address(lottery.chain.account(account)), "to": hex_address(lottery.address),
        "data": calldata(function, arguments), "value": format!("0x{wei:x}"),
    });
    let time = json!({"time": format!("0x{now:x}")});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest", {}, time]});
    let answer = lottery.chain.post(&request).unwrap();
    let error = answer.get("error")?;
    match classify(Method::Call, error, "").kind {
        ErrorKind::Reverted { reason, .. } => Some(reason.unwrap_or_default()),
        other => panic!("{function}: {other:?}"),
    }
}

fn number(value: u64) -> Token {
    Token::Uint(U256::from(value))
}

/// Who, what with which arguments, wei, chain time, and the words that refuse it.
type Row<'a> = (usize, &'a str, &'a [Token], u64, u64, Option<&'a str>);

fn check(lottery: &Lottery, rows: &[Row]) {
    for (account, function, arguments, wei, now, wanted) in rows {
        let found = refusal(lottery, *account, (function, arguments), *wei, *now);
        assert_eq!(
            found.as_deref(),
            *wanted,
            "{function} by {account} with {wei} wei at {now}"
        );
    }
}

#[test]
fn a_waiting_round_takes_settings_and_bets_and_nothing_else() {
    let chain = chain();
    let lottery = chain.deploy(Timing::default());
    let now = chain.head().1 + 1;
    let someone = [Token::Address(Address::repeat_byte(7))];
    let zero = [Token::Address(Address::zero())];
    let publisher = [Token::Address(chain.account(PUBLISHER))];
    let only_operator = Some("Only operator can call this function");
    check(
        &lottery,
        &[
            (
                PLAYER,
                "placeBet",
                &[],
                BET_WEI - 1,
                now,
                Some("Bet amount too low"),
            ),
            (PLAYER, "placeBet", &[], BET_WEI, now, None),
            (PLAYER, "drawWinner", &[], 0, now, only_operator),
            (
                OPERATOR,
                "drawWinner",
                &[],
                0,
                now,
                Some("Round must be in betting state"),
            ),
            (PLAYER, "refundRound", &[], 0, now, only_operator),
            (
                OPERATOR,
                "refundRound",
                &[],
                0,
                now,
                Some("Round must be in betting state"),
            ),
            (
                PLAYER,
                "refundExpiredRound",
                &[],
                0,
                now,
                Some("Round not in betting state"),
            ),
            (PLAYER, "startRound", &[], 0, now, only_operator),
            (OPERATOR, "startRound", &[], 0, now, None),
            (
                OPERATOR,
                "extendBettingTime",
                &[number(now + 600)],
                0,
                now,
                Some("Must be in betting state"),
            ),
            (
                PLAYER,
                "updateMinBetAmount",
                &[number(5)],
                0,
                now,
                only_operator,
            ),
            (
                OPERATOR,
                "updateMinBetAmount",
                &[number(0)],
                0,
                now,
                Some("Min bet amount must be positive"),
            ),
            (OPERATOR, "updateMinBetAmount", &[number(5)], 0, now, None),
            (
                OPERATOR,
                "updateBettingDuration",
                &[number(0)],
                0,
                now,
                Some("Betting duration must be positive"),
            ),
            (
                OPERATOR,
                "updateMinParticipants",
                &[number(1)],
                0,
                now,
                Some("Minimum participants must be at least 2"),
            ),
            (
                OPERATOR,
                "updateMinParticipants",
                &[number(2)],
                0,
                now,
                None,
            ),
            (
                OPERATOR,
                "setOperator",
                &someone,
                0,
                now,
                Some("Only publisher can call this function"),
            ),
            (
                PUBLISHER,
                "setOperator",
                &zero,
                0,
                now,
                Some("Invalid operator address"),
            ),
            (
                PUBLISHER,
                "setOperator",
                &publisher,
                0,
                now,
                Some("Operator cannot be publisher"),
            ),
            (PUBLISHER, "setOperator", &someone, 0, now, None),
            (PLAYER, "withdraw", &[], 0, now, Some("No funds available")),
        ],
    );
}

#[test]
fn a_running_round_keeps_its_times_to_the_second() {
    let chain = chain();
    let lottery = chain.deploy(Timing::default());
    lottery.bet(PLAYER, BET_WEI);
    lottery.bet(PLAYER + 1, BET_WEI);
    let round = lottery.round();
    assert_eq!(round.end_time, round.start_time + 180);
    assert_eq!(round.min_draw_time, round.end_time + 5);
    assert_eq!(round.max_draw_time, round.end_time + 180);
    let (end, opens, closes) = (round.end_time, round.min_draw_time, round.max_draw_time);
    let someone = [Token::Address(Address::repeat_byte(7))];
    let waiting = |what: &str| format!("Can only update {what} in waiting state");
    let (bet, duration, players) = (
        waiting("min bet amount"),
        waiting("betting duration"),
        waiting("min participants"),
    );
    let too_near = "New end time must be at least minEndTimeExtension from now";
    check(
        &lottery,
        &[
            (PLAYER, "placeBet", &[], 1, end, Some("Bet amount too low")),
            (PLAYER, "placeBet", &[], BET_WEI, end, None),
            (PLAYER, "placeBet", &[], BET_WEI, end + 1, NOT_BETTING),
            (
                OPERATOR,
                "drawWinner",
                &[],
                0,
                opens - 1,
                Some("Min draw time not reached"),
            ),
            (OPERATOR, "drawWinner", &[], 0, opens, None),
            (OPERATOR, "drawWinner", &[], 0, closes, None),
            (
                OPERATOR,
                "drawWinner",
                &[],
                0,
                closes + 1,
                Some("Draw time expired, refund required"),
            ),
            (
                PLAYER,
                "refundExpiredRound",
                &[],
                0,
                closes,
                Some("Max draw time not expired"),
            ),
            (PLAYER, "refundExpiredRound", &[], 0, closes + 1, None),
            // The contract's first trap: the operator's refund has no time gate at all.
            (OPERATOR, "refundRound", &[], 0, round.start_time, None),
            (OPERATOR, "refundRound", &[], 0, closes + 1, None),
            (OPERATOR, "startRound", &[], 0, end, NOT_WAITING),
            (
                OPERATOR,
                "extendBettingTime",
                &[number(end + 59)],
                0,
                end,
                Some(too_near),
            ),
            (
                OPERATOR,
                "extendBettingTime",
                &[number(end + 60)],
                0,
                end,
                None,
            ),
            (
                OPERATOR,
                "extendBettingTime",
                &[number(end + 600)],
                0,
                end + 1,
                ALREADY_ENDED,
            ),
            (
                OPERATOR,
                "extendBettingTime",
                &[number(end)],
                0,
                end - 60,
                Some("New end time must be later than current end time"),
            ),
            (
                OPERATOR,
                "extendBettingTime",
                &[number(end + 1)],
                0,
                end - 59,
                None,
            ),
            (
                OPERATOR,
                "updateMinBetAmount",
                &[number(5)],
                0,
                end,
                Some(&bet),
            ),
            (
                OPERATOR,
                "updateBettingDuration",
                &[number(5)],
                0,
                end,
                Some(&duration),
            ),
            (
                OPERATOR,
                "updateMinParticipants",
                &[number(5)],
                0,
                end,
                Some(&players),
            ),
            (
                PUBLISHER,
                "setOperator",
                &someone,
                0,
                end,
                Some("Cannot change operator when not in waiting state"),
            ),
        ],
    );
}

#[test]
fn an_empty_round_dies_at_its_end_unless_it_was_extended() {
    let chain = chain();
    let lottery = chain.deploy(Timing::default());
    lottery.operate("startRound", &[]);
    let round = lottery.round();
    assert_eq!(round.state, RoundState::Betting);
    let (end, opens, closes) = (round.end_time, round.min_draw_time, round.max_draw_time);
    let extended = [number(end + 600)];
    check(
        &lottery,
        &[
            (OPERATOR, "extendBettingTime", &extended, 0, end, None),
            (
                OPERATOR,
                "extendBettingTime",
                &extended,
                0,
                end + 1,
                ALREADY_ENDED,
            ),
            (PLAYER, "placeBet", &[], BET_WEI, end + 1, NOT_BETTING),
            (
                OPERATOR,
                "drawWinner",
                &[],
                0,
                opens,
                Some("No bets placed"),
            ),
            (
                OPERATOR,
                "refundRound",
                &[],
                0,
                closes + 1,
                Some("No funds to refund"),
            ),
            (
                PLAYER,
                "refundExpiredRound",
                &[],
                0,
                closes + 1,
                Some("No participants in round"),
            ),
            (OPERATOR, "startRound", &[], 0, closes + 1, NOT_WAITING),
        ],
    );
}

#[test]
fn the_events_of_a_round_come_in_their_order() {
    let chain = chain();
    let lottery = chain.deploy(Timing::default());
    lottery.bet(PLAYER, BET_WEI);
    lottery.bet(PLAYER + 1, 2 * BET_WEI);
    lottery.skip_to(lottery.round().min_draw_time);
    let draw = lottery.operate("drawWinner", &[]);
    lottery.bet(PLAYER, BET_WEI);
    let early = lottery.operate("refundRound", &[]);
    lottery.bet(PLAYER, BET_WEI);
    lottery.skip_to(lottery.round().min_draw_time);
    let lonely = lottery.operate("drawWinner", &[]);
    let told = |receipt: &Value| -> Vec<String> {
        receipt["logs"]
            .as_array()
            .unwrap()
            .iter()
            .map(describe)
            .collect()
    };
    assert_eq!(
        told(&draw),
        [
            "RoundStateChanged 2->3",
            "RoundCompleted",
            "RoundCreated of zeros"
        ]
    );
    assert_eq!(
        told(&early),
        [
            "RoundStateChanged 1->4",
            "RoundRefunded: Operator-initiated refund",
            "RoundCreated of zeros"
        ]
    );
    assert_eq!(
        told(&lonely),
        [
            "RoundStateChanged 2->4",
            "RoundRefunded: Insufficient participants",
            "RoundCreated of zeros"
        ]
    );
    assert_eq!(lottery.round().round_id, 4);
    assert_eq!(lottery.round().state, RoundState::Waiting);
}

/// A log by its event's name and what matters of its arguments.
fn describe(log: &Value) -> String {
    let abi = Contract::load(ABI_JSON.as_bytes()).unwrap();
    let topics: Vec<H256> = log["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|topic| topic.as_str().unwrap().parse().unwrap())
        .collect();
    let event = abi
        .events()
        .find(|event| event.signature() == topics[0])
        .unwrap();
    let data = lottery::chain::encode::decode_hex(log["data"].as_str().unwrap()).unwrap();
    let parsed = event.parse_log((topics, data).into()).unwrap();
    let argument = |name: &str| {
        parsed
            .params
            .iter()
            .find(|known| known.name == name)
            .unwrap()
            .value
            .clone()
    };
    match event.name.as_str() {
        "RoundStateChanged" => format!(
            "RoundStateChanged {}->{}",
            argument("oldState"),
            argument("newState")
        ),
        "RoundRefunded" => format!("RoundRefunded: {}", argument("reason")),
        "RoundCreated" if argument("maxDrawTime") == number(0) => {
            "RoundCreated of zeros".to_owned()
        }
        other => other.to_owned(),
    }
}

#[test]
fn a_bettor_that_cannot_be_paid_locks_refunds_but_not_every_draw() {
    let chain = chain();
    let lottery = chain.deploy(Timing::default());
    lottery.bet_unpayable(PLAYER, BET_WEI);
    lottery.bet(PLAYER, BET_WEI);
    let round = lottery.round();
    let refund = ("refundExpiredRound", &[][..]);
    assert!(refusal(&lottery, PLAYER, refund, 0, round.max_draw_time + 1).is_some());
    assert!(refusal(&lottery, OPERATOR, ("refundRound", &[]), 0, round.end_time).is_some());
    // The winner depends on the block's time, so among 40 seconds some pay the bettor that can be paid.
    let draws = (0..40).map(|second| {
        refusal(
            &lottery,
            OPERATOR,
            ("drawWinner", &[]),
            0,
            round.min_draw_time + second,
        )
    });
    let passing = draws.filter(Option::is_none).count();
    assert!((1..40).contains(&passing), "{passing} of 40 draws pass");
}

#[test]
fn players_cost_the_gas_that_was_measured() {
    let chain = chain();
    let mut lotteries = Vec::new();
    for players in [10, 50] {
        let lottery = chain.deploy(Timing::default());
        for player in PLAYER..PLAYER + players {
            lottery.bet(player, BET_WEI);
        }
        lotteries.push(lottery);
    }
    let gas = |lottery: &Lottery, function: &str, past: bool| {
        let round = lottery.round();
        let time = if past {
            round.max_draw_time + 1
        } else {
            round.min_draw_time
        };
        let call = json!({
            "from": hex_address(chain.account(OPERATOR)), "to": hex_address(lottery.address), "data": calldata(function, &[]),
        });
        let time = json!({"time": format!("0x{time:x}")});
        let answer = chain.rpc("eth_estimateGas", json!([call, "latest", {}, time]));
        u64::from_str_radix(&answer.as_str().unwrap()[2..], 16).unwrap()
    };
    // The limit needed on the deployed contract: a draw 266,000 and 10,300 a player, a refund 84,000 and 20,700 a player.
    for (function, past, base, each) in [
        ("drawWinner", false, 266_000, 10_300),
        ("refundExpiredRound", true, 84_000, 20_700),
    ] {
        let (few, many) = (
            gas(&lotteries[0], function, past),
            gas(&lotteries[1], function, past),
        );
        let slope = (many - few) / 40;
        assert!(
            (each * 8 / 10..=each * 12 / 10).contains(&slope),
            "{function}: {slope} gas a player"
        );
        let whole = base + 50 * each;
        assert!(
            (whole * 7 / 10..=whole * 12 / 10).contains(&many),
            "{function}: {many} gas for 50 players"
        );
    }
}
