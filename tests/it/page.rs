//! The page in a real browser, without a wallet: a round from its first bet to its checked draw, every moment that the
//! first screen knows, and what the page does when the server, the feed, the machine or JavaScript fail it.

use std::collections::BTreeMap;

use serde_json::{json, Value};

use support::browser::Browser;
use support::chain::{hex_address, wait_for, Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::programs::free_port;

const CENT: u64 = 10_000_000_000_000_000;

fn daemon_on(lottery: &Lottery, port: u16, without_key: bool) -> Daemon {
    let options = Options {
        config: json!({"server": {"port": port}}),
        without_key,
        quiet: true,
        ..Options::default()
    };
    Daemon::start(lottery, options)
}

#[test]
#[ignore = "needs chromium"]
fn the_page_follows_a_round_to_its_winner_and_verifies_the_draw() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let port = free_port();
    let daemon = daemon_on(&lottery, port, false);
    let mut browser = Browser::open(&daemon.url);
    browser.wait_text("live");
    browser.wait_text("opens with the first bet");
    for player in 2..6 {
        lottery.bet(player, CENT);
    }
    browser.wait_text("round 1 is open");
    browser.wait_text("0.04 ETH");
    lottery.skip_to(lottery.round().min_draw_time.saturating_sub(2));
    let winner = wait_for("a winner on the chain", || lottery.winner_of(1));
    let winner = hex_address(winner);
    browser.wait_text_in("#big", &format!("{}…{}", &winner[..6], &winner[38..]));
    browser.wait_text("0.039 ETH");
    browser.wait_text_in("#spoken", "takes it");
    // Asked anew when somebody comes to look.
    browser.evaluate("document.getElementById('fairness-title').scrollIntoView()");
    browser.wait_text_in("#fairness-figures", "1 was drawn and 0 refunded");
    browser.click("#hero-actions button", "Check this draw");
    browser.wait_text("everything holds");
    browser.wait_text("computed from what this server told");
    drop(daemon);
    browser.wait_text_in("#link", "reconnecting");
    browser.wait_text_in("#age", "old news");
    // The daemon comes back, and the page goes on where it is now.
    let _daemon = daemon_on(&lottery, port, false);
    lottery.bet(2, 7 * CENT);
    browser.wait_text("0.07 ETH");
    browser.wait_text_in("#link", "live");
    assert_eq!(browser.foreign_complaints(), Vec::<&String>::new());
}

/// The moments of the first screen, each with what the tab's title says and how the chain comes there; the operator has
/// no key and does nothing.
type Moment = (&'static str, &'static str, fn(&Lottery));

const MOMENTS: &[Moment] = &[
    ("waiting", "waiting for a bet · Lottery", |_| {}),
    ("betting", " to bet · Lottery", |lottery| {
        for player in 2..6 {
            lottery.bet(player, player as u64 * CENT);
        }
    }),
    ("closed", " to the draw · Lottery", |lottery| {
        lottery.skip_to(lottery.round().end_time + 1)
    }),
    ("draw_window", " drawing · Lottery", |lottery| {
        lottery.skip_to(lottery.round().min_draw_time)
    }),
    ("drawn", " won 0.1365 · Lottery", |lottery| {
        lottery.operate("drawWinner", &[]);
    }),
    ("betting", " to bet · Lottery", |lottery| {
        lottery.bet(2, CENT);
        lottery.skip_to(lottery.round().start_time + 70);
    }),
    ("overdue", " late · Lottery", |lottery| {
        lottery.skip_to(lottery.round().max_draw_time + 1)
    }),
    ("refunded", "refunded · Lottery", |lottery| {
        lottery.operate("refundExpiredRound", &[]);
    }),
    ("stuck", "stuck · Lottery", |lottery| {
        lottery.operate("startRound", &[]);
        lottery.skip_to(lottery.round().end_time + 1);
    }),
];

#[test]
#[ignore = "needs chromium and axe-core"]
fn every_moment_is_shown_without_a_fault_of_accessibility() {
    let chain = Chain::devchain(1);
    let timing = Timing {
        min_draw_delay: 60,
        ..Timing::default()
    };
    let lottery = chain.deploy(timing);
    let daemon = daemon_on(&lottery, 0, true);
    let mut browser = Browser::open(&daemon.url);
    let axe = axe();
    browser.wait_text_in("#link", "live");
    browser.evaluate(&axe);
    let mut spoken: Vec<String> = Vec::new();
    let mut icons: BTreeMap<&str, String> = BTreeMap::new();
    for (kind, title, come) in MOMENTS {
        come(&lottery);
        wait_for(&format!("the moment {kind}"), || {
            let shown = browser.evaluate("document.getElementById('round').dataset.phase");
            (shown == *kind).then_some(())
        });
        let said = browser.evaluate("document.getElementById('spoken').textContent");
        spoken.push(said.as_str().unwrap().to_owned());
        browser.wait(title, |browser| {
            let shown = browser.evaluate("document.title");
            shown.as_str().unwrap().contains(title)
        });
        let icon = browser.evaluate("document.getElementById('icon').href");
        icons.insert(kind, icon.as_str().unwrap().to_owned());
        assert_written_by_the_server(&mut browser, kind);
        assert_accessible(&mut browser, kind);
        for width in [320, 3_840] {
            set_width(&mut browser, width);
            assert_fits(&mut browser, &format!("{kind} at {width} px"));
        }
        set_width(&mut browser, 360);
        assert_accessible(&mut browser, &format!("{kind} on a phone"));
        if *kind == "drawn" {
            assert_dialog_accessible(&mut browser);
            assert_seen_in_other_media(&mut browser);
        }
        set_width(&mut browser, 1280);
    }
    eprintln!("spoken: {spoken:#?}");
    for (kind, other) in [
        ("waiting", "betting"),
        ("betting", "closed"),
        ("closed", "draw_window"),
        ("draw_window", "drawn"),
        ("drawn", "overdue"),
        ("overdue", "refunded"),
    ] {
        assert_ne!(icons[kind], icons[other], "the icons of {kind} and {other}");
    }
    for path in ["/round/1", "/round/2"] {
        browser.go_to(&format!("{}{path}", daemon.url));
        browser.wait_text_in("#link", "live");
        browser.wait_text_in("#hero-actions", "go to round");
        browser.evaluate(&axe);
        assert_written_by_the_server(&mut browser, path);
        assert_accessible(&mut browser, path);
    }
    drop(daemon);
    browser.wait_text_in("#link", "reconnecting");
    assert_accessible(&mut browser, "stale");
}

/// On a phone and on a desk, with the check of the draw done and its list of players there.
fn assert_dialog_accessible(browser: &mut Browser) {
    browser.click("#hero-actions button", "Check this draw");
    browser.wait_text_in("#details", "everything holds");
    assert_accessible(browser, "the check on a phone");
    set_width(browser, 1280);
    assert_accessible(browser, "the check");
    browser.click("#details-close", "");
}

/// A result under forced colours and on paper.
fn assert_seen_in_other_media(browser: &mut Browser) {
    let forced = json!([{"name": "forced-colors", "value": "active"}]);
    browser.ask("Emulation.setEmulatedMedia", json!({"features": forced}));
    let needle = "getComputedStyle(document.querySelector('.needle'), '::before').backgroundColor";
    let back = "getComputedStyle(document.body).backgroundColor";
    let colours = browser.evaluate(&format!("[{needle}, {back}]"));
    assert_ne!(colours[0], colours[1], "the needle under forced colours");
    browser.ask(
        "Emulation.setEmulatedMedia",
        json!({"media": "print", "features": []}),
    );
    let shown = browser.evaluate(
        "['round', 'strip', 'history-rows', 'bet'].map((id) => document.getElementById(id).checkVisibility({ contentVisibilityAuto: true }))",
    );
    assert_eq!(shown, json!([true, true, true, false]), "on paper");
    // As wide as a sheet.
    set_width(browser, 760);
    let edges = browser.evaluate(
        "(() => { const of = (id) => document.getElementById(id).getBoundingClientRect(); \
           const feed = document.getElementById('feed').parentElement; \
           return [of('kicker').bottom <= of('big').top, feed.scrollHeight <= feed.clientHeight]; })()",
    );
    assert_eq!(
        edges,
        json!([true, true]),
        "words below each other, and all of the feed"
    );
    browser.ask("Emulation.setEmulatedMedia", json!({"media": ""}));
}

pub fn set_width(browser: &mut Browser, width: u32) {
    let metrics =
        json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500});
    browser.ask("Emulation.setDeviceMetricsOverride", metrics);
}

/// What the script shows comes to be what the server has written, but for the times, which are the reader's. A bet may
/// still be on its way to one of the two.
pub fn assert_written_by_the_server(browser: &mut Browser, moment: &str) {
    let script = "fetch(location.href).then((answer) => answer.text()).then((html) => { \
           const told = new DOMParser().parseFromString(html, 'text/html'); \
           const of = (document, id) => { const node = document.getElementById(id); return `${node.hidden ? '' : node.textContent.trim()}`; }; \
           return ['kicker', 'big', 'line', 'pot', 'pot-line', 'hero-actions', 'warnings'] \
             .filter((id) => of(document, id) !== of(told, id)) \
             .map((id) => `${id}: ${of(document, id)}; written was ${of(told, id)}`); })";
    browser.wait_promise(moment, script, &json!([]));
}

/// The source of axe-core, which NODE_PATH has.
pub fn axe() -> String {
    let folder = std::env::var("NODE_PATH").expect("NODE_PATH names the folder that has axe-core");
    let path = format!("{folder}/axe-core/axe.min.js");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The page has to hold axe-core.
pub fn assert_accessible(browser: &mut Browser, moment: &str) {
    for scheme in ["dark", "light"] {
        browser.set_scheme(scheme);
        let found = browser.evaluate_promise(
            "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => n.html).join(' ')}`))",
        );
        assert_eq!(found, json!([]), "{moment}, {scheme}");
        assert_fits(browser, moment);
    }
}

fn assert_fits(browser: &mut Browser, moment: &str) {
    let width = browser.evaluate("document.documentElement.scrollWidth - innerWidth");
    assert!(
        width.as_i64().unwrap() <= 0,
        "{moment}: wider than the window by {width}"
    );
}

#[test]
#[ignore = "needs chromium"]
fn without_javascript_the_first_screen_tells_the_round() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    for player in 2..6 {
        lottery.bet(player, CENT);
    }
    let daemon = daemon_on(&lottery, 0, true);
    daemon.wait_ready();
    let mut browser = Browser::start();
    browser.ask(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": true}),
    );
    browser.go_to(&daemon.url);
    browser.wait_text("round 1 is open");
    let headings =
        "[...document.querySelectorAll('h2')].filter((node) => node.checkVisibility()).length";
    assert_eq!(
        browser.evaluate(headings),
        1,
        "fairness alone, as none has finished"
    );
    browser.wait_text("0.04 ETH");
    browser.wait_text("4 players · winner takes 0.039");
    browser.wait_text("switched off here");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('.strip rect').length"),
        4
    );
}

#[test]
#[ignore = "needs chromium"]
fn without_websocket_the_page_asks_and_after_a_sleep_it_asks_anew() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = daemon_on(&lottery, 0, true);
    let mut browser = Browser::start();
    browser.inject("delete window.WebSocket");
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "asking every 5 s");
    lottery.bet(3, 3 * CENT);
    browser.wait_text_in("#pot", "0.03 ETH");
    browser.wait_text_in("#players-rows", "100.0 %");

    let mut browser = Browser::start();
    browser.inject(
        "(() => { const now = Date.now; window.slept = 0; Date.now = () => now() + window.slept; \
         const Native = WebSocket; window.sockets = 0; \
         window.WebSocket = class extends Native { constructor(url) { super(url); window.sockets += 1; } }; })()",
    );
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "live");
    assert_eq!(browser.evaluate("sockets"), 1);
    browser.evaluate("window.slept = 3600e3");
    wait_for("the feed to be asked anew", || {
        (browser.evaluate("sockets") == 2).then_some(())
    });
    browser.wait_text_in("#link", "live");
}

#[test]
#[ignore = "needs chromium"]
fn the_page_starts_over_with_a_contract_that_is_deployed_anew() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let port = free_port();
    let daemon = daemon_on(&lottery, port, true);
    let mut browser = Browser::open(&daemon.url);
    lottery.bet(3, 3 * CENT);
    browser.wait_text_in("#pot", "0.03 ETH");
    drop(daemon);
    let next = chain.deploy(Timing::default());
    let _daemon = daemon_on(&next, port, true);
    browser.wait_text_in("#kicker", "round 1");
    browser.wait_text_in("#big", "opens with the first bet");
    browser.evaluate("document.getElementById('phone').open = true");
    let address = &hex_address(next.address)[2..];
    browser.wait_text_in("#contract", address);
    assert_eq!(browser.foreign_complaints(), Vec::<&String>::new());
}

#[test]
#[ignore = "needs chromium"]
fn the_first_screen_costs_three_requests_and_nothing_moves_when_the_script_takes_over() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    for player in 2..6 {
        lottery.bet(player, player as u64 * CENT);
    }
    let daemon = daemon_on(&lottery, 0, true);
    daemon.wait_ready();
    let mut browser = Browser::start();
    browser.inject(
        "window.shifted = 0; new PerformanceObserver((list) => { for (const entry of list.getEntries()) \
         window.shifted += entry.value; }).observe({ type: 'layout-shift', buffered: true })",
    );
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "live");
    browser.wait_text_in("#players-rows", "0x");
    let files = browser.evaluate(
        "performance.getEntriesByType('resource').filter(({ name }) => !name.includes('/api/')).length",
    );
    assert_eq!(files, 2, "files beside the page itself");
    let shifted = browser.evaluate("shifted");
    assert!(
        shifted.as_f64().unwrap() < 0.02,
        "the page shifts by {shifted}"
    );
}

/// All times are told in UTC when the button is pressed, and in the visitor's zone when it is pressed again.
fn assert_times_turn(browser: &mut Browser) {
    browser.wait_text_in("#link", "live");
    browser.wait("times of rows", |page| {
        page.evaluate("document.querySelector('#history-rows time[data-at]') !== null") == true
    });
    for is_utc in [true, false] {
        browser.click("#utc", "");
        let said = browser.evaluate(
            "[document.getElementById('utc').getAttribute('aria-pressed') === 'true', \
              ...[...document.querySelectorAll('time[data-at]')].map((time) => time.textContent.endsWith('UTC'))]",
        );
        let said = said.as_array().unwrap();
        assert!(
            said.len() > 1 && said.iter().all(|one| *one == is_utc),
            "{said:?}"
        );
    }
}

#[test]
#[ignore = "needs chromium"]
fn a_round_has_a_page_of_its_own_that_leads_back() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    for player in 2..6 {
        lottery.bet(player, CENT);
    }
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    lottery.bet(2, 5 * CENT);
    let daemon = daemon_on(&lottery, 0, true);
    daemon.wait_ready();
    let mut browser = Browser::open(&format!("{}/round/1", daemon.url));
    browser.wait_text_in("#kicker", "round 1 is drawn");
    let title = browser.evaluate("document.querySelector('meta[property=\"og:title\"]').content");
    let title = title.as_str().unwrap();
    assert!(title.contains("won 0.039 ETH in round 1"), "{title}");
    assert_times_turn(&mut browser);
    browser.click("#hero-actions button", "Go to round 2");
    browser.wait_text_in("#kicker", "round 2 is open");
    assert_eq!(browser.evaluate("location.pathname"), Value::from("/"));
    assert_eq!(browser.foreign_complaints(), Vec::<&String>::new());

    // Who leaves before the round has come stays away.
    let mut hasty = Browser::start();
    hasty.inject(
        "(() => { const ask = fetch; window.fetch = (what, how) => ask(what, how).then((answer) => \
         String(what).includes('api/history/1') \
           ? new Promise((tell) => { window.tellRound = () => { tell(answer); }; }) : answer); })()",
    );
    hasty.go_to(&format!("{}/round/1", daemon.url));
    hasty.click("#hero-actions button", "Go to round 2");
    hasty.wait("the round to be asked for", |page| {
        page.evaluate("Boolean(window.tellRound)") == true
    });
    hasty.evaluate("tellRound()");
    hasty.evaluate_promise("new Promise((done) => setTimeout(done))");
    hasty.wait_text_in("#kicker", "round 2 is open");
    assert_eq!(hasty.evaluate("location.pathname"), Value::from("/"));

    // A daemon that is still reading may not know the round when it is asked first; by now it is not the last result.
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    let mut early = Browser::start();
    early.inject(
        "(() => { const ask = fetch; window.asked = 0; window.fetch = (what, how) => \
         String(what).includes('api/history/1') && window.asked++ === 0 \
           ? Promise.resolve(new Response('{\"error\":{\"code\":\"not_found\",\"message\":\"not yet\"}}', { status: 404 })) \
           : ask(what, how).then((answer) => { window.answered = asked > 1; return answer; }); })()",
    );
    early.go_to(&format!("{}/round/1", daemon.url));
    early.wait("an answer to a second question", |page| {
        page.evaluate("window.answered") == true
    });
    early.wait("the round", |page| {
        page.evaluate(
            "document.getElementById('kicker').textContent.startsWith('Round 1 is drawn') \
             && !document.body.innerText.includes('cannot be shown')",
        ) == true
    });

    // A button that stays says what it does now.
    early.wait_text_in("#hero-actions", "go to round 3");
    for player in 2..6 {
        lottery.bet(player, CENT);
    }
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    early.wait_text_in("#hero-actions", "go to round 4");
}
