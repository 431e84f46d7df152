//! Finished rounds as the public asks for them: what one costs the daemon however often it is asked for, what may be kept
//! for ever, and that no page asks for one by itself.

use serde_json::Value;

use support::browser::Browser;
use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

use crate::web::exchange;

const BETS: u64 = 600;

/// A daemon that knows round 1, which has many bets and is drawn.
fn drawn(chain: &Chain) -> (Lottery<'_>, Daemon) {
    let lottery = chain.deploy(Timing {
        betting: 1_000,
        ..Timing::default()
    });
    let bets =
        (0..BETS).map(|bet| lottery.transaction(2 + bet as usize % 4, "placeBet", &[], BET_WEI));
    bets.for_each(|bet| drop(lottery.chain.submit(&bet)));
    wait_for("the bets in blocks", || {
        (lottery.round().total_pot_wei == (BETS * BET_WEI).into()).then_some(())
    });
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    let daemon = Daemon::quiet(&lottery, Options::default());
    (lottery, daemon)
}

/// The answer's head, and its body as far as it is text.
fn get(daemon: &Daemon, target: &str, fields: &str) -> (String, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n");
    let answer = exchange(daemon, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_finished_round_costs_no_more_than_a_small_answer() {
    let chain = Chain::devchain(1);
    let (_, daemon) = drawn(&chain);
    let (head, body) = get(&daemon, "/api/history/1", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let round: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(round["bets"].as_array().unwrap().len() as u64, BETS);
    // A tag that nobody else names makes each request one of its own, which no ready answer serves.
    let cost = |target: &str| {
        let before = daemon.cpu_ticks();
        for number in 0..150 {
            let fields = format!("Accept-Encoding: gzip\r\nIf-None-Match: \"{number}\"\r\n");
            let (head, _) = get(&daemon, target, &fields);
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
        daemon.cpu_ticks() - before
    };
    let small = cost("/api/contract/address");
    let round = cost("/api/history/1");
    assert!(
        round <= 2 * small + 15,
        "{round} ticks for the round, {small} for its address"
    );
}

#[test]
fn what_large_answers_took_is_given_back() {
    let chain = Chain::devchain(1);
    let (_, daemon) = drawn(&chain);
    get(&daemon, "/api/status", "");
    let quiet_kib = daemon.allocated_kib();
    for number in 0..20 {
        let (head, body) = get(
            &daemon,
            &format!("/api/activities?limit=1000&n={number}"),
            "",
        );
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body.len() > 200_000, "{} bytes", body.len());
    }
    wait_for("the memory to be given back", || {
        (daemon.allocated_kib() <= quiet_kib + 2 * 1_024).then_some(())
    });
}

#[test]
fn only_a_settled_round_of_this_deployment_is_kept_for_ever() {
    let chain = Chain::devchain(1);
    let (_, daemon) = drawn(&chain);
    let deployment = daemon.get("/api/status").1["deployment"].clone();
    let genesis = deployment["genesis"].as_str().unwrap();
    let contract = deployment["contract"].as_str().unwrap();
    let named = format!("/api/history/1?of=31337-{contract}-{}", &genesis[2..18]);
    let (head, body) = get(&daemon, &named, "");
    assert!(!head.contains("immutable"), "not final yet: {head}");
    assert!(body.contains("\"asOf\":"), "{body:.300}");
    for _ in 0..70 {
        chain.skip(1);
    }
    let (head, body) = wait_for("the round to be final", || {
        let (head, body) = get(&daemon, &named, "");
        head.contains("immutable").then_some((head, body))
    });
    assert!(head.contains("Cache-Control: public, max-age="), "{head}");
    assert!(!body.contains("\"asOf\":"), "{body:.300}");
    let (head, body) = get(&daemon, "/api/history/1", "");
    assert!(!head.contains("immutable"), "{head}");
    assert!(body.contains("\"asOf\":"), "{body:.300}");
    let other = named.replace("of=31337", "of=31338");
    let (head, body) = get(&daemon, &other, "");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert!(body.contains("other_deployment"), "{body}");
    assert!(!head.contains("immutable"), "{head}");
}

#[test]
#[ignore = "needs chromium"]
fn a_page_shows_a_result_without_asking_for_its_round() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    for player in 2..6 {
        lottery.bet(player, BET_WEI);
    }
    let daemon = Daemon::quiet(&lottery, Options::default());
    let mut browser = Browser::start();
    browser.inject(
        "(() => { const ask = fetch; window.asked = []; \
         window.fetch = (what, how) => { window.asked.push(String(what)); return ask(what, how); }; })()",
    );
    browser.go_to(&daemon.url);
    browser.wait_text_in("#kicker", "round 1 is open");
    lottery.skip_to(lottery.round().min_draw_time.saturating_sub(2));
    browser.wait_text_in("#kicker", "round 1 is drawn");
    browser.wait("the row of the round", |page| {
        page.evaluate("document.querySelector('#history-rows time[data-at]') !== null") == true
    });
    let asked = browser.evaluate("asked.filter((what) => what.includes('api/history')).join()");
    assert_eq!(asked, "");
}
