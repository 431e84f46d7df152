//! What a visitor does with a wallet, in a real browser: choosing one, coming to the right chain, betting, being refused,
//! getting stuck bets back, and checking a draw through the wallet when the server lies. The wallets are injected.

use serde_json::{json, Value};

use crate::page::{assert_accessible, axe, set_width};
use support::browser::Browser;
use support::chain::{wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::programs::free_port;

/// The account of the injected wallets.
const VISITOR: usize = 7;
const CENT: u64 = 10_000_000_000_000_000;

fn daemon(lottery: &Lottery, without_key: bool) -> Daemon {
    daemon_on(lottery, 0, without_key)
}

fn daemon_on(lottery: &Lottery, port: u16, without_key: bool) -> Daemon {
    let options = Options {
        config: json!({"server": {"port": port}}),
        without_key,
        ..Options::default()
    };
    Daemon::quiet(lottery, options)
}

fn visitor(chain: &Chain, daemon: &Daemon) -> Browser {
    let mut browser = Browser::start();
    browser.add_wallets(chain, VISITOR);
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "live");
    browser
}

/// A visitor who has chosen the first wallet.
fn connected(chain: &Chain, daemon: &Daemon) -> Browser {
    let mut browser = visitor(chain, daemon);
    connect(&mut browser, "Alpha");
    browser
}

fn connect(browser: &mut Browser, wallet: &str) {
    browser.click("#bet-button", "Connect");
    browser.click("#wallet-list button", wallet);
    browser.wait_text_in("#account", wallet);
}

fn type_amount(browser: &mut Browser, text: &str) {
    browser.evaluate(
        "document.getElementById('amount').select(); document.getElementById('amount').focus()",
    );
    browser.ask("Input.insertText", json!({"text": text}));
}

fn calls(browser: &Browser, wanted: &str) -> usize {
    let calls = browser.wallet.calls.iter();
    calls.filter(|call| call.ends_with(wanted)).count()
}

#[test]
#[ignore = "needs chromium"]
fn a_visitor_chooses_one_of_two_wallets_comes_to_the_chain_and_bets() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = visitor(&chain, &daemon);
    browser.wallet.chain_id = "0x1".to_owned();
    assert!(
        browser.wallet.calls.is_empty(),
        "asked before a click: {:?}",
        browser.wallet.calls
    );
    connect(&mut browser, "Beta");
    type_amount(&mut browser, "0.05");
    browser.wait_text_in("#odds", "you would be the first");
    browser.click("#bet-button", "Bet 0.05");
    browser.wait_text_in("#sent", "included");
    browser.wait_text_in("#account", "9,999.94");
    assert_eq!(calls(&browser, "wallet_addEthereumChain"), 1);
    assert!(browser
        .wallet
        .calls
        .iter()
        .all(|call| call.starts_with("Beta ")));
    let round = lottery.round();
    assert_eq!(round.total_pot_wei, (5 * CENT).into());
    browser.wait_text_in("#players-rows", "you");
    // More of one's own grows a ghost beside it, and the odds are told.
    type_amount(&mut browser, "0.05");
    lottery.bet(3, 10 * CENT);
    browser.wait_text_in("#odds", "50.0 % (now 33.3 %): about 1 in 2");
    // A screen reader speaks them at what the visitor does, not at each bet of others.
    let spoken = "document.getElementById('odds').getAttribute('aria-live')";
    assert_eq!(browser.evaluate(spoken), "off");
    type_amount(&mut browser, "0.1");
    browser.wait_text_in("#odds", "60.0 % (now 33.3 %)");
    assert_eq!(browser.evaluate(spoken), Value::Null);
    assert_eq!(
        browser.evaluate("listeners.length"),
        3,
        "one set of listeners"
    );
    browser.evaluate("emit('Beta', 'chainChanged', '0x1')");
    browser.wait_text_in("#account", "switch to chain 31337");
    browser.click("#account button", "Disconnect");
    browser.wait_text_in("#bet-button", "Connect a wallet");
    assert_eq!(browser.evaluate("listeners.length"), 0);
    browser.wallet.calls.clear();
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "live");
    browser.wait_text_in("#bet-button", "Connect a wallet");
    assert!(
        browser.wallet.calls.is_empty(),
        "a disconnect is remembered"
    );
    assert_eq!(browser.foreign_complaints(), Vec::<&String>::new());
}

#[test]
#[ignore = "needs chromium"]
fn refusals_are_told_in_words_and_send_nothing() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    type_amount(&mut browser, "0.0001");
    browser.click("#bet-button", "Bet");
    browser.wait_text_in("#bet-problem", "the smallest bet is 0.001 eth");
    type_amount(&mut browser, "1e3");
    browser.click("#bet-button", "Bet");
    browser.wait_text_in("#bet-problem", "digits and one point");
    type_amount(&mut browser, "0.01");
    let reason = "0x08c379a00000000000000000000000000000000000000000000000000000000000000020\
                  000000000000000000000000000000000000000000000000000000000000001242657474696e67206e6f7420616374697665\
                  0000000000000000000000000000";
    for (method, code, message, data, words, kind) in [
        (
            "eth_sendTransaction",
            4001,
            "User rejected",
            Value::Null,
            "cancelled in the wallet",
            "cancelled",
        ),
        (
            "eth_sendTransaction",
            -32002,
            "pending",
            Value::Null,
            "open it",
            "waiting",
        ),
        (
            "eth_call",
            3,
            "execution reverted",
            json!(reason),
            "betting has just closed",
            "failed",
        ),
        (
            "eth_sendTransaction",
            -32000,
            "insufficient funds for gas",
            Value::Null,
            "not enough eth",
            "failed",
        ),
        (
            "eth_sendTransaction",
            -32603,
            "<b>broken</b>",
            Value::Null,
            "<b>broken</b>",
            "failed",
        ),
    ] {
        browser
            .wallet
            .refusals
            .push((method, code, message.to_owned(), data));
        browser.click("#bet-button", "Bet 0.01");
        browser.wait_text_in("#bet-problem", words);
        assert_eq!(
            browser.evaluate("document.getElementById('bet-problem').dataset.kind"),
            kind
        );
    }
    assert_eq!(lottery.round().total_pot_wei, 0.into());
    assert_eq!(
        browser.evaluate("document.getElementById('sent').children.length"),
        0
    );
}

#[test]
#[ignore = "needs chromium"]
fn the_warning_of_a_late_bet_ends_with_its_round() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    lottery.bet(3, CENT);
    lottery.bet(4, CENT);
    type_amount(&mut browser, "0.02");
    lottery.skip_to(lottery.round().end_time - 15);
    // The page hears of the chain's time with what happens there.
    lottery.bet(5, CENT);
    browser.wait("the last seconds", |browser| {
        browser.evaluate("/^00:[01]/.test(document.getElementById('countdown').innerText)") == true
    });
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#bet-problem", "press again to bet all the same");
    lottery.skip_to(lottery.round().min_draw_time);
    browser.wait("the warning gone", |browser| {
        browser.evaluate("document.getElementById('bet-problem').textContent") == ""
    });
    assert_eq!(calls(&browser, "eth_sendTransaction"), 0);
}

#[test]
#[ignore = "needs chromium"]
fn a_bet_that_the_chain_takes_back_waits_again_and_is_told_as_dropped() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    // As many blocks as are taken back, so that the contract is not among them.
    for _ in 0..3 {
        chain.skip(1);
    }
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "included");
    chain.dev().reorg(3, devchain::Reorged::Dropped);
    browser.wait_text_in("#sent", "the chain took its block back");
    browser.wait_text_in("#sent", "dropped");
    assert_eq!(lottery.round().total_pot_wei, 0.into());
}

#[test]
#[ignore = "needs chromium"]
fn anyone_returns_the_bets_of_an_overdue_round_and_the_publisher_withdraws() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = visitor(&chain, &daemon);
    for player in 2..5 {
        lottery.bet(player, CENT);
    }
    lottery.skip_to(lottery.round().max_draw_time + 2);
    browser.wait_text_in("#kicker", "was not drawn in time");
    connect(&mut browser, "Alpha");
    browser.click("#hero-actions button", "Return all bets");
    browser.wait_text_in("#round", "everyone is paid back");
    browser.wait_text_in("#line", "nobody drew it within its window");
    assert_eq!(lottery.logs("RoundRefunded").len(), 1);
    // A draw leaves its commission with the publisher.
    lottery.bet(2, 100 * CENT);
    lottery.bet(3, 100 * CENT);
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    browser.wallet.account = format!("{:#x}", chain.account(0));
    let account = browser.wallet.account.clone();
    browser.evaluate(&format!("emit('Alpha', 'accountsChanged', ['{account}'])"));
    browser.click("#hero-actions button", "Withdraw 0.05 ETH");
    wait_for("the withdrawal", || {
        browser.evaluate("0");
        (lottery.logs("Withdrawn").len() == 1).then_some(())
    });
    browser.wait_text_in("#sent", "withdrawal of 0.05 eth");
}

/// Each figure of a round by its first place in the answer, as the text of its field and another.
fn lies(told: &Value, lies: &mut Vec<(String, String)>) {
    // What a daemon saw by itself, and no chain tells.
    const ASIDES: [&str; 6] = [
        "drawDelayReason",
        "asOf",
        "verdictWhy",
        "source",
        "knownAhead",
        "finality",
    ];
    match told {
        Value::Array(items) => items.iter().for_each(|item| self::lies(item, lies)),
        Value::Object(fields) => {
            for (name, value) in fields
                .iter()
                .filter(|(name, _)| !ASIDES.contains(&name.as_str()))
            {
                if value.is_array() || value.is_object() {
                    self::lies(value, lies);
                    continue;
                }
                let field = format!("\"{name}\":");
                if !lies.iter().any(|(text, _)| text.starts_with(&field)) {
                    lies.push((
                        format!("{field}{value}"),
                        format!("{field}{}", other(value)),
                    ));
                }
            }
        }
        _ => {}
    }
}

fn other(value: &Value) -> Value {
    match value {
        Value::Null => json!("1"),
        Value::Bool(is_so) => json!(!is_so),
        Value::Number(number) => json!(number.as_u64().unwrap_or(0) + 1),
        Value::String(text) if text == "verified" => json!("mismatch"),
        Value::String(text) if text == "RoundCompleted" => json!("RoundRefunded"),
        Value::String(text) => {
            let (start, last) = text.split_at(text.len() - 1);
            json!(format!("{start}{}", if last == "1" { "2" } else { "1" }))
        }
        value => panic!("{value} is no figure"),
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_server_that_lies_about_any_figure_is_caught_through_the_wallet() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    for player in [2, 3, 4, 2] {
        lottery.bet(player, player as u64 * CENT);
    }
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    browser.intercept("*/api/history/1");
    let mut figures = Vec::new();
    lies(&daemon.get("/api/history/1").1, &mut figures);
    assert!(figures.len() > 20, "{figures:?}");
    assert_eq!(checked(&mut browser), "holds");
    for (told, lie) in figures {
        browser.forged = vec![("api/history".to_owned(), told.clone(), lie.clone())];
        let verdict = checked(&mut browser);
        assert_ne!(verdict, "holds", "{told}: {lie}");
        if told.starts_with("\"winnerPrizeWei\"") {
            assert_eq!(verdict, "contradicted");
        }
    }
}

/// What the page finds of round 1 through the wallet: its verdict, or why the figures are none.
fn checked(browser: &mut Browser) -> Value {
    let outcome = "document.querySelector('[data-verdict]')?.dataset.verdict ?? \
                   document.querySelector('.check-outcome .aside')?.innerText ?? ''";
    browser.click("#history-rows a", "1");
    browser.click("#details button", "Check through my wallet");
    browser.wait("an outcome of the check", |browser| {
        browser.evaluate(outcome) != ""
    });
    let found = browser.evaluate(outcome);
    browser.click("#details-close", "");
    found
}

#[test]
#[ignore = "needs chromium"]
fn a_keyboard_goes_from_the_top_of_the_page_to_a_placed_bet() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = visitor(&chain, &daemon);
    let focused = |browser: &mut Browser| {
        browser.evaluate("document.activeElement.id || document.activeElement.textContent")
    };
    browser.press("Tab");
    browser.press("Enter");
    assert_eq!(focused(&mut browser), "amount");
    type_amount(&mut browser, "0.04");
    browser.press("Enter");
    wait_for("the choice of wallets", || {
        (browser.evaluate("document.getElementById('wallets').open") == true).then_some(())
    });
    while focused(&mut browser) != "Alpha" {
        browser.press("Tab");
    }
    browser.press("Enter");
    browser.wait_text_in("#account", "alpha");
    wait_for("the focus on the bet", || {
        (focused(&mut browser) == "bet-button").then_some(())
    });
    browser.press("Enter");
    browser.wait_text_in("#sent", "included");
    assert_eq!(lottery.round().total_pot_wei, (4 * CENT).into());
}

#[test]
#[ignore = "needs chromium"]
fn a_bet_in_whose_place_another_transaction_was_sent_is_told_as_replaced() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    chain.dev().hold_transactions(true);
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "pending");
    let account = format!("{:#x}", chain.account(VISITOR));
    let known = |browser: &mut Browser| {
        // Its number among the account's transactions is known once the wallet was asked for it.
        let stored = browser.evaluate("JSON.stringify(Object.entries(localStorage))");
        stored.as_str().unwrap().contains("\\\"nonce\\\":0")
    };
    browser.wait("the transaction's nonce", known);
    let price = "0x174876e800";
    chain.submit(&json!({
        "from": account, "to": account, "value": "0x0", "nonce": "0x0", "gas": "0x5208",
        "maxFeePerGas": price, "maxPriorityFeePerGas": price,
    }));
    chain.dev().hold_transactions(false);
    browser.wait_text_in("#sent", "replaced");
    assert_eq!(lottery.round().total_pot_wei, 0.into());
}

#[test]
#[ignore = "needs chromium"]
fn a_bet_that_comes_too_late_is_told_as_reverted() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    lottery.bet(3, CENT);
    chain.dev().hold_transactions(true);
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "pending");
    lottery.skip_to(lottery.round().end_time + 1);
    chain.dev().hold_transactions(false);
    browser.wait_text_in("#sent", "reverted");
    assert_eq!(lottery.round().total_pot_wei, CENT.into());
}

#[test]
#[ignore = "needs chromium"]
fn after_another_contract_was_deployed_the_open_page_bets_there() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let port = free_port();
    let first = daemon_on(&lottery, port, true);
    let mut browser = connected(&chain, &first);
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "included");
    drop(first);
    let next = chain.deploy(Timing::default());
    let _second = daemon_on(&next, port, true);
    browser.wait_text_in("#big", "opens with the first bet");
    // What was sent to the old contract is none of the new one's business.
    assert_eq!(
        browser.evaluate("document.getElementById('sent').children.length"),
        0
    );
    type_amount(&mut browser, "0.03");
    browser.click("#bet-button", "Bet 0.03");
    browser.wait_text_in("#sent", "included");
    assert_eq!(next.round().total_pot_wei, (3 * CENT).into());
    assert_eq!(lottery.round().total_pot_wei, (2 * CENT).into());
}

#[test]
#[ignore = "needs chromium"]
fn a_winner_is_told_so_and_the_result_stays_until_the_visitor_bets_again() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    lottery.bet(3, CENT / 10);
    type_amount(&mut browser, "1000");
    browser.click("#bet-button", "Bet 1,000 ETH");
    browser.wait_text_in("#sent", "included");
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    browser.wait_text_in("#big", "you take it");
    browser.wait_text_in("#spoken", "you take it");
    browser.wait("the winner in the title", |browser| {
        let title = browser.evaluate("document.title");
        title.as_str().unwrap().starts_with("You won ")
    });
    // Somebody opens the next round: the result stays, and the bet form says what runs.
    lottery.bet(3, CENT);
    browser.wait_text_in("#bet-title", "round 2 is open");
    browser.wait_text_in("#bet-title", "0.01 ETH in the pot");
    browser.wait_text_in("#big", "you take it");
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#kicker", "round 2 is open");
}

#[test]
#[ignore = "needs chromium and axe-core"]
fn the_choice_of_wallets_and_the_code_for_phones_have_no_fault_of_accessibility() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    lottery.bet(3, CENT);
    let daemon = daemon(&lottery, true);
    let mut browser = visitor(&chain, &daemon);
    browser.evaluate(&axe());
    for width in [1280, 360] {
        set_width(&mut browser, width);
        browser.evaluate("document.getElementById('phone').open = true");
        browser.wait("the code", |browser| {
            browser.evaluate("document.getElementById('phone-code').naturalWidth > 0") == true
        });
        assert_accessible(&mut browser, &format!("the code at {width} px"));
        browser.click("#bet-button", "Connect");
        browser.wait_text_in("#wallets", "Alpha");
        assert_accessible(&mut browser, &format!("the wallets at {width} px"));
        browser.click("#wallets-close", "");
        type_amount(&mut browser, "0.0675");
        assert_uncut(&mut browser, "amount", width);
    }
    assert_chips_fit(&mut browser);
    connect(&mut browser, "Beta");
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "included");
    for width in [1280, 360] {
        set_width(&mut browser, width);
        assert_accessible(&mut browser, &format!("a bet at {width} px"));
    }
    assert_chips_fit(&mut browser);
}

/// No amount to choose is cut by the button beside it.
fn assert_chips_fit(browser: &mut Browser) {
    for width in [1280, 768, 360] {
        set_width(browser, width);
        assert_uncut(browser, "chips", width);
    }
}

fn assert_uncut(browser: &mut Browser, id: &str, width: u32) {
    let part = format!("document.getElementById('{id}')");
    let cut = browser.evaluate(&format!("{part}.scrollWidth - {part}.clientWidth"));
    assert_eq!(cut, 0, "of {id} at {width} px");
}

#[test]
#[ignore = "needs chromium"]
fn ones_own_part_is_named_within_the_strip_however_wide_the_window_becomes() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    for player in 2..6 {
        lottery.bet(player, 8 * CENT);
    }
    lottery.bet(VISITOR, CENT);
    // Once no bet can be added to it, it is the last part, and narrower than its name.
    lottery.skip_to(lottery.round().end_time + 1);
    let mut browser = connected(&chain, &daemon);
    for width in [360, 2_560, 768, 1_280, 360] {
        set_width(&mut browser, width);
        browser.wait(&format!("my part's name at {width} px"), |browser| {
            let edges = browser.evaluate(
                "(() => { const of = (query) => document.querySelector(query).getBoundingClientRect(); \
                   const [name, strip] = [of('.strip-you'), of('.strip')]; \
                   return [innerWidth, name.width > 40, strip.right - name.right]; })()",
            );
            let room = edges[2].as_f64().unwrap();
            edges[0] == width && edges[1] == true && (0.0..60.0).contains(&room)
        });
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_wallet_that_only_stands_in_the_window_bets_up_to_what_it_holds() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = Browser::start();
    browser.inject(
        "addEventListener('eip6963:announceProvider', (event) => { \
           window.ethereum ??= event.detail.provider; event.stopImmediatePropagation(); }, true)",
    );
    browser.add_wallets(&chain, VISITOR);
    browser.intercept("*/api/fairness");
    let known_ahead = (
        "\"randomnessKnownAhead\":null",
        "\"randomnessKnownAhead\":true",
    );
    browser.forged = vec![(
        "api/fairness".to_owned(),
        known_ahead.0.to_owned(),
        known_ahead.1.to_owned(),
    )];
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "live");
    browser.wait_text_in("#known-ahead", "the randomness is known before the block");
    connect(&mut browser, "Browser wallet");
    browser.wait_text_in("#account", "10,000 ETH");
    type_amount(&mut browser, "10001");
    browser.click("#bet-button", "Bet 10,001");
    browser.wait_text_in("#bet-problem", "your balance is 10,000 eth");
    assert_eq!(calls(&browser, "eth_sendTransaction"), 0);
    browser.click("#chips button", "max");
    browser.wait("all but the fee", |browser| {
        let typed = browser.evaluate("Number(document.getElementById('amount').value)");
        typed
            .as_f64()
            .is_some_and(|ether| ether > 9_999.0 && ether < 10_000.0)
    });
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "included");
    // The address for a wallet elsewhere, exactly.
    browser.click("#phone summary", "");
    browser.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }");
    browser.click("#copy", "Copy address");
    browser.wait_text_in("#copy", "copied");
    let address = format!("{:#x}", lottery.address);
    let copied = browser.evaluate("copied.toLowerCase()");
    assert_eq!(copied, address.as_str());
    // What stands in an unfolded part comes with the next frame.
    browser.wait("the link for a wallet here", |browser| {
        let link = browser.evaluate("document.getElementById('phone-link').href.toLowerCase()");
        let wanted = format!("ethereum:{address}@31337/placebet?value=");
        link.as_str().is_some_and(|link| link.starts_with(&wanted))
    });
    let apps = browser.evaluate("[...document.querySelectorAll('#phone-apps a')].every(({ href }) => decodeURIComponent(href).includes(location.host))");
    assert_eq!(apps, true);
}

#[test]
#[ignore = "needs chromium"]
fn a_wallet_that_died_is_told_of_and_makes_room_for_another() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    type_amount(&mut browser, "0.02");
    // It died before the contract was asked.
    browser.wallet.silent = vec!["eth_call"];
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#bet-problem", "nothing at all");
    // It died with its question open.
    browser.wallet.silent = vec!["eth_sendTransaction"];
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#bet-button", "confirm in your wallet");
    browser.click("#account button", "Disconnect");
    browser.wallet.silent.clear();
    connect(&mut browser, "Beta");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "included");
    assert_eq!(lottery.round().total_pot_wei, (2 * CENT).into());
}

#[test]
#[ignore = "needs chromium"]
fn two_tabs_know_of_each_others_bets() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon(&lottery, true);
    let mut browser = connected(&chain, &daemon);
    let first = browser.open_tab(&daemon.url);
    browser.wait_text_in("#link", "live");
    let second = browser.turn_to(first);
    browser.ask("Page.bringToFront", json!({}));
    type_amount(&mut browser, "0.02");
    browser.click("#bet-button", "Bet 0.02");
    browser.wait_text_in("#sent", "included");
    browser.turn_to(second);
    browser.ask("Page.bringToFront", json!({}));
    browser.wait_text_in("#sent", "bet of 0.02 eth");
    browser.click("#sent button", "");
    browser.wait("nothing kept", |browser| {
        browser.evaluate("Object.entries(localStorage).every(([, value]) => !value.includes('0x'))")
            == true
    });
}
