//! The page in a real browser when something is wrong with the draw: what a visitor is told of it in the first screen, by
//! the script and by the server alike.

use serde_json::json;

use crate::page::{assert_accessible, assert_written_by_the_server, axe, set_width};
use crate::port::handshake;
use support::browser::Browser;
use support::chain::{hex_address, Chain, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

#[test]
#[ignore = "needs chromium and axe-core"]
fn a_player_who_cannot_be_paid_is_warned_of_and_the_pot_is_told_to_be_locked() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::quiet(&lottery, Options::default());
    let mut browser = Browser::open(&daemon.url);
    lottery.bet(3, BET_WEI);
    let rejector = hex_address(lottery.bet_unpayable(2, 3 * BET_WEI));
    let warning = format!("critical: {rejector} cannot be paid");
    browser.wait_text_in("#warnings", &warning);
    assert_written_by_the_server(&mut browser, "a warning");
    lottery.skip_to(lottery.round().max_draw_time + 1);
    browser.wait_text_in("#big", "the pot is locked");
    browser.wait_text_in("#spoken", "do not bet: what is in it is not safe");
    browser.wait("the title", |page| {
        page.evaluate("document.title") == "locked · Lottery 1"
    });
    assert_written_by_the_server(&mut browser, "a locked pot");
    browser.evaluate(&axe());
    for width in [1280, 360] {
        set_width(&mut browser, width);
        assert_accessible(&mut browser, &format!("a locked pot at {width} px"));
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_late_draw_is_told_with_what_held_it_up_while_it_is_due_and_after() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::switched_off(&lottery);
    let mut browser = Browser::open(&daemon.url);
    for player in 2..5 {
        lottery.bet(player, BET_WEI);
    }
    lottery.skip_to(lottery.round().min_draw_time);
    let words = "what held it up, as this server saw it: the operator was switched off";
    browser.wait_text_in("#note", &format!("everyone is paid back. {words}"));
    daemon.act("/api/round/draw", &json!({"roundId": 1}));
    browser.wait_text_in("#note", "after the first that allowed it");
    browser.wait_text_in("#note", words);
    browser.click("#hero-actions button", "Check this draw");
    browser.wait_text_in("#details", words);
    // The server's own words, for those without JavaScript.
    let html = browser.evaluate_promise("fetch('./').then((answer) => answer.text())");
    let html = html.as_str().unwrap().to_lowercase();
    assert!(html.contains(words), "{html}");
    assert_eq!(browser.foreign_complaints(), Vec::<&String>::new());
}

/// Neighbours behind one address may hold all the feeds that it may have.
#[test]
#[ignore = "needs chromium"]
fn who_is_refused_the_feed_is_kept_up_to_date_all_the_same_until_there_is_room() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let config =
        json!({"server": {"max_connections_per_ip": 3, "trusted_proxies": ["127.0.0.0/8"]}});
    let options = Options {
        config,
        ..Options::default()
    };
    let daemon = Daemon::quiet(&lottery, options);
    let neighbours = "192.0.2.1";
    let held = [(); 3].map(|()| {
        let (stream, status) = handshake(&daemon, Some(neighbours));
        assert_eq!(status, "101");
        stream
    });
    let mut browser = Browser::start();
    let headers = json!({"headers": {"X-Forwarded-For": neighbours}});
    browser.ask("Network.enable", json!({}));
    browser.ask("Network.setExtraHTTPHeaders", headers);
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "asking every 5 s");
    lottery.bet(3, BET_WEI);
    browser.wait_text_in("#players-rows", "100.0 %");
    drop(held);
    browser.wait_text_in("#link", "live");
    lottery.bet(4, BET_WEI);
    browser.wait_text_in("#players-rows", "50.0 %");
}
