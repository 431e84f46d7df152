//! The light contract is the compiled one's twin: both are played side by side, the compiled one by an EVM, with the same
//! calls at the same times, and must agree on every success, every revert's words, every log and every view.

use lottery::chain::encode::{decode_hex, encode_hex};
use lottery::chain::types::{Address, H256};
use serde_json::{json, Value};
use sim::contract::{selector, word, Call, Env, Halt, Lottery, Terms};
use support::chain::{hex_address, Chain, Timing, OPERATOR};
use support::random::Random;
use support::BET_WEI;

const STEPS: usize = 70;

struct Pair {
    chain: Chain,
    contract: Address,
    terms: Terms,
    model: Lottery,
}

impl Pair {
    fn new() -> Pair {
        let chain = Chain::devchain_with(devchain::Config::default());
        let timing = Timing::default();
        let contract = chain.deploy(timing).address;
        let terms = Terms {
            publisher: chain.account(0),
            commission_bps: 250,
            min_draw_delay: timing.min_draw_delay,
            max_draw_delay: timing.max_draw_delay,
            min_extension: timing.min_extension,
            unpayable: Vec::new(),
        };
        let model = Lottery::new(chain.account(OPERATOR));
        Pair {
            chain,
            contract,
            terms,
            model,
        }
    }

    fn head(&self) -> Value {
        self.chain
            .rpc("eth_getBlockByNumber", json!(["latest", false]))
    }

    /// One call on both sides, in a block of that time.
    fn step(&mut self, account: usize, wei: u64, data: &[u8], time: u64) {
        let from = self.chain.account(account);
        let mut request = json!({
            "from": hex_address(from), "to": hex_address(self.contract),
            "data": encode_hex(data), "value": format!("0x{wei:x}"), "gas": "0x4c4b40",
        });
        let words = self.chain.try_rpc(
            "eth_call",
            json!([request, "latest", {}, {"time": format!("0x{time:x}")}]),
        );
        request["gas"] = json!("0x4c4b40");
        self.chain.rpc("evm_setNextBlockTimestamp", json!([time]));
        let hash = self.chain.submit(&request);
        let receipt = self.chain.rpc("eth_getTransactionReceipt", json!([hash]));
        let block = self.head();
        let env = Env {
            timestamp: number(&block["timestamp"]),
            number: number(&block["number"]),
            prevrandao: H256::from_slice(&decode_hex(block["mixHash"].as_str().unwrap()).unwrap()),
        };
        let mut after = self.model.clone();
        let call = Call {
            from,
            value: wei.into(),
            data,
        };
        let result = after.run(&self.terms, call, env);
        let name = sim::contract::function_of(data);
        assert_eq!(
            receipt["status"] == "0x1",
            result.is_ok(),
            "{name:?} {result:?} {receipt}"
        );
        match result {
            Ok(events) => {
                let told: Vec<Value> = events
                    .iter()
                    .map(|event| json!({"topics": event.topics.iter().map(|topic| format!("{topic:#x}")).collect::<Vec<_>>(), "data": encode_hex(&event.data)}))
                    .collect();
                let logs = receipt["logs"].as_array().unwrap().iter();
                let logged: Vec<Value> = logs
                    .map(|log| json!({"topics": log["topics"], "data": log["data"]}))
                    .collect();
                assert_eq!(told, logged, "{name:?}");
                self.model = after;
            }
            Err(Halt::Reverted(reason)) => {
                let words = words.expect_err("the call reverts as well");
                assert!(words.contains(reason), "{name:?}: {reason} in {words}");
            }
            Err(Halt::Bare) => assert!(words.is_err()),
        }
        self.compare_views();
    }

    fn compare_views(&self) {
        let player = self
            .model
            .players
            .last()
            .map_or_else(Address::zero, |(player, _)| *player);
        let mut of_player = selector("getBetAmount").to_vec();
        of_player.extend(H256::from(player).0);
        let views =
            ["getRound", "getConfig", "getParticipants"].map(|view| selector(view).to_vec());
        for data in views.iter().chain([&of_player]) {
            let call = json!({"to": hex_address(self.contract), "data": encode_hex(data)});
            let answer = self.chain.rpc("eth_call", json!([call, "latest"]));
            let own = self.model.view(&self.terms, data).unwrap();
            // A dynamic type's offset comes first in either.
            assert_eq!(
                answer,
                json!(encode_hex(&own)),
                "{:?}",
                sim::contract::function_of(data)
            );
        }
    }
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Times near those at which the contract changes its mind, and a call that may or may not be allowed there.
fn play(seed: u64) -> usize {
    let mut random = Random::new(seed);
    let mut pair = Pair::new();
    let mut ended = 0;
    for _ in 0..STEPS {
        let head = number(&pair.head()["timestamp"]);
        let model = &pair.model;
        let edges = [model.end_time, model.min_draw_time, model.max_draw_time];
        let edge = *random.pick(&edges) + random.below(3);
        let time = match random.one_in(3) {
            true if edge > head + 1 => edge - 1,
            _ => head + 1 + random.below(20),
        };
        let extended = word(time + 30 + random.below(400));
        let (account, wei, data) = match random.below(12) {
            0..=4 => (
                2 + random.index(4),
                BET_WEI * random.below(5),
                selector("placeBet").to_vec(),
            ),
            5..=7 => (OPERATOR, 0, selector("drawWinner").to_vec()),
            8 => (
                2 + random.index(2),
                0,
                selector("refundExpiredRound").to_vec(),
            ),
            9 => (
                OPERATOR,
                0,
                [&selector("extendBettingTime")[..], &extended].concat(),
            ),
            10 => (
                *random.pick(&[OPERATOR, 3]),
                0,
                selector("refundRound").to_vec(),
            ),
            _ => (
                *random.pick(&[OPERATOR, 3]),
                0,
                selector("startRound").to_vec(),
            ),
        };
        let round_id = pair.model.round_id;
        pair.step(account, wei, &data, time);
        ended += usize::from(pair.model.round_id != round_id);
    }
    ended
}

#[test]
fn both_contracts_agree_step_by_step() {
    let ended: usize = (1..=6).map(play).sum();
    assert!(ended > 10, "{ended} rounds ended");
}
