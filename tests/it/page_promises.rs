//! What the page promises at all times, in a real browser: nothing is drawn that nobody sees, who reads with the keyboard
//! stays where they were, what is not known is not made up, and only those who like motion get it.

use serde_json::{json, Value};

use crate::page::set_width;
use support::browser::Browser;
use support::chain::{Chain, Lottery, Timing};
use support::daemon::{Daemon, Options};
use support::BET_WEI;

/// Of a daemon without a key.
fn following(lottery: &Lottery, config: Value) -> Daemon {
    let options = Options {
        config,
        without_key: true,
        ..Options::default()
    };
    Daemon::quiet(lottery, options)
}

#[test]
#[ignore = "needs chromium"]
fn a_hidden_tab_keeps_up_and_draws_nothing_until_it_is_looked_at() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = following(&lottery, json!({}));
    let mut browser = Browser::start();
    browser.inject(
        "(() => { window.isHidden = false; window.frames_ = 0; window.heard = 0; \
         Object.defineProperty(document, 'hidden', { get: () => isHidden }); \
         const ask = requestAnimationFrame; window.requestAnimationFrame = (act) => { frames_ += 1; return ask(act); }; \
         const Native = WebSocket; window.WebSocket = class extends Native { constructor(url) { super(url); \
           this.addEventListener('message', ({ data }) => { if (data.includes('participants_update')) heard += 1; }); } }; \
         window.turn = (hidden) => { isHidden = hidden; document.dispatchEvent(new Event('visibilitychange')); }; })()",
    );
    browser.go_to(&daemon.url);
    lottery.bet(3, 2 * BET_WEI);
    let pot = |browser: &mut Browser| browser.evaluate("document.getElementById('pot').innerText");
    browser.wait_text_in("#pot", "0.002");
    let shown = pot(&mut browser);
    browser.evaluate("turn(true)");
    browser.evaluate_promise("new Promise((done) => setTimeout(done, 0))");
    browser.evaluate("[frames_, heard] = [0, 0]");
    lottery.bet(4, 3 * BET_WEI);
    browser.wait("the second bet", |browser| {
        browser.evaluate("heard > 0") == true
    });
    assert_eq!(browser.evaluate("frames_"), 0);
    assert_eq!(pot(&mut browser), shown);
    browser.evaluate("turn(false)");
    browser.wait_text_in("#pot", "0.005");
}

/// Blocks without news are no message: without a heartbeat's chain time a countdown would run on as it was, however far the
/// chain's clock has turned away from it.
#[test]
#[ignore = "needs chromium"]
fn a_heartbeat_sets_the_countdown_right() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing {
        betting: 3_000,
        ..Timing::default()
    });
    let daemon = following(&lottery, json!({}));
    lottery.bet(3, BET_WEI);
    let mut browser = Browser::start();
    browser.inject(
        "(() => { const Native = WebSocket; window.WebSocket = class extends Native { constructor(url) { super(url); \
           this.addEventListener('message', ({ data }) => { window.seq = JSON.parse(data).seq; }); \
           window.beat = (chainTime) => this.dispatchEvent(new MessageEvent('message', \
             { data: JSON.stringify({ type: 'heartbeat', seq, timestamp: 0, payload: { chainTime, asOf: { blockNumber: 1, timestamp: chainTime, syncing: false } } }) })); } }; \
         window.left = () => document.getElementById('countdown').innerText.split(':').reduce((all, part) => 60 * all + Number(part), 0); \
         window.told = async () => { const { endTime, chainTime } = await (await fetch('/api/round/status')).json(); \
           return endTime - chainTime; }; \
         window.off = async () => Math.abs(left() - await told()) })()",
    );
    browser.go_to(&daemon.url);
    browser.wait_text_in("#link", "live");
    browser.wait_promise(
        "the countdown",
        "off().then((off) => off <= 2)",
        &json!(true),
    );
    for seconds in [-600, 600] {
        browser.evaluate_promise(&format!(
            "fetch('/api/round/status').then((answer) => answer.json()).then(({{ chainTime }}) => beat(chainTime + {seconds}))"
        ));
        browser.wait_promise(
            "the countdown to follow",
            &format!("told().then((told) => Math.abs(left() + {seconds} - told) <= 2)"),
            &json!(true),
        );
    }
}

#[test]
#[ignore = "needs chromium"]
fn the_focus_stays_where_it_was_or_goes_to_what_is_around() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let explorer = json!({"blockchain": {"explorer_url": "https://explorer.example/"}});
    let daemon = following(&lottery, explorer);
    let mut browser = Browser::open(&daemon.url);
    lottery.bet(3, 2 * BET_WEI);
    lottery.bet(4, BET_WEI);
    // A row that moves up, while its link has the focus.
    browser.wait("both players", |browser| {
        browser.evaluate("document.querySelectorAll('#players-rows a').length") == 2
    });
    let second = browser.evaluate(
        "(() => { const link = document.querySelectorAll('#players-rows a')[1]; link.focus(); return link.href; })()",
    );
    let second = second.as_str().unwrap();
    assert!(
        second.starts_with("https://explorer.example/address/0x"),
        "{second}"
    );
    lottery.bet(4, 5 * BET_WEI);
    browser.wait("the row moved up", |browser| {
        browser.evaluate("document.querySelector('#players-rows a').href") == second
    });
    assert_eq!(browser.evaluate("document.activeElement.href"), second);
    // A button that goes.
    lottery.skip_to(lottery.round().max_draw_time + 1);
    browser.wait("the way out", |browser| {
        browser.evaluate("document.querySelector('#hero-actions button')?.focus(); document.activeElement.textContent")
            == "Return all bets"
    });
    lottery.operate("refundExpiredRound", &[]);
    browser.wait_text_in("#big", "everyone is paid back");
    assert_eq!(browser.evaluate("document.activeElement.id"), "round");
}

#[test]
#[ignore = "needs chromium"]
fn what_is_not_known_is_said_to_be_so() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = Daemon::without_chain(&lottery);
    let mut browser = Browser::open(&daemon.url);
    browser.wait_text_in("#link", "chain unreachable");
    browser.wait_text_in("#notice", "no contact with the chain");
    browser.wait_text_in("#notice", "nothing is drawn from here meanwhile");
    browser.wait_text_in("#big", "not known yet");
    browser.wait_text_in("#players-empty", "not known yet");
    browser.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))");
    let text = browser.evaluate("document.body.innerText.toLowerCase()");
    for wrong in [
        "null",
        "undefined",
        "nan",
        "nobody has bet",
        "no round has finished",
        "1970",
    ] {
        let words = text
            .as_str()
            .unwrap()
            .split(|sign: char| !sign.is_alphanumeric());
        let text = words.collect::<Vec<_>>().join(" ");
        assert!(
            !format!(" {text} ").contains(&format!(" {wrong} ")),
            "{wrong}: {text}"
        );
    }
}

#[test]
#[ignore = "needs chromium"]
fn the_needle_falls_for_those_alone_who_like_motion() {
    for (preference, falls) in [
        ("no-preference", Value::from("yes")),
        ("reduce", Value::Null),
    ] {
        let chain = Chain::devchain(1);
        let lottery = chain.deploy(Timing::default());
        let daemon = following(&lottery, json!({}));
        let mut browser = Browser::open(&daemon.url);
        let features = json!([{"name": "prefers-reduced-motion", "value": preference}]);
        browser.ask("Emulation.setEmulatedMedia", json!({"features": features}));
        for player in 2..6 {
            lottery.bet(player, BET_WEI);
        }
        lottery.skip_to(lottery.round().min_draw_time);
        let needle = "document.querySelector('.needle')";
        browser.wait("the needle", |browser| {
            // Nothing may happen on the chain after its clock was moved; who comes back to a tab has it asked for the time.
            browser.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
            browser.evaluate(&format!("{needle}.getAttribute('data-runs')")) == "yes"
        });
        lottery.operate("drawWinner", &[]);
        browser.wait_text_in("#big", "takes it");
        let shown = browser.evaluate(&format!("{needle}.getAttribute('data-falls')"));
        assert_eq!(shown, falls, "{preference}");
    }
}

#[test]
#[ignore = "needs chromium"]
fn the_newest_comes_into_view_unless_the_reader_has_scrolled_away() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = following(&lottery, json!({}));
    for bet in 0..12 {
        lottery.bet(2 + bet % 8, BET_WEI);
    }
    let mut browser = Browser::open(&daemon.url);
    let scrolled = "document.querySelector('.scroll').scrollTop";
    let bets = |browser: &mut Browser, count: usize| {
        browser.wait("all bets", |browser| {
            let script = "[...document.querySelectorAll('.feed-message')].filter((row) => row.textContent.includes(' bet ')).length";
            browser.evaluate(script) == count
        });
    };
    bets(&mut browser, 12);
    // As where a bet comes while the last is still sliding into view: the list moves, and nobody has touched it.
    browser.evaluate_promise(
        "new Promise((done) => { const part = document.querySelector('.scroll'); \
           part.addEventListener('scrollend', done, { once: true }); part.scrollTop = 200; })",
    );
    lottery.bet(2, BET_WEI);
    bets(&mut browser, 13);
    browser.wait("the newest", |browser| browser.evaluate(scrolled) == 0);
    // Somebody turns the wheel, and is not called back.
    let middle = browser.evaluate(
        "(() => { const part = document.querySelector('.scroll'); part.scrollIntoView({ block: 'center' }); \
           const { x, y, width, height } = part.getBoundingClientRect(); return [x + width / 2, y + height / 2]; })()",
    );
    let wheel =
        json!({"type": "mouseWheel", "x": middle[0], "y": middle[1], "deltaX": 0, "deltaY": 300});
    browser.ask("Input.dispatchMouseEvent", wheel);
    browser.wait("the list to move", |browser| {
        browser.evaluate(scrolled).as_f64() > Some(250.0)
    });
    let first_read = "(() => { const part = document.querySelector('.scroll'); const { top } = part.getBoundingClientRect(); \
                      return [...part.querySelectorAll('li')].find((row) => row.getBoundingClientRect().bottom > top).textContent; })()";
    let read = browser.evaluate(first_read);
    lottery.bet(3, BET_WEI);
    bets(&mut browser, 14);
    assert_eq!(browser.evaluate(first_read), read);
}

#[test]
#[ignore = "needs chromium"]
fn on_a_phone_the_button_is_at_hand_while_bets_are_taken_and_covers_no_other() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = following(&lottery, json!({}));
    let mut browser = Browser::open(&daemon.url);
    let mut phone = json!({"width": 360, "height": 490, "deviceScaleFactor": 1, "mobile": true});
    browser.ask("Emulation.setDeviceMetricsOverride", phone.clone());
    lottery.bet(3, BET_WEI);
    lottery.bet(4, BET_WEI);
    browser.wait_text_in("#pot-line", "2 players");
    let seen = |id: &str| {
        format!(
            "(() => {{ const {{ x, y, width, height }} = document.querySelector('{id}').getBoundingClientRect(); \
             return document.querySelector('{id}').contains(document.elementFromPoint(x + width / 2, y + height / 2)); }})()"
        )
    };
    for part in ["#bet-button", "#chips button", "#odds"] {
        assert_eq!(browser.evaluate(&seen(part)), true, "{part}");
    }
    phone["height"] = json!(640);
    browser.ask("Emulation.setDeviceMetricsOverride", phone);
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    browser.wait_text_in("#big", "takes it");
    browser.wait("the way to the check", |browser| {
        browser.evaluate(&seen("#hero-actions button")) == true
    });
}

#[test]
#[ignore = "needs chromium"]
fn letters_twice_as_large_cover_no_others() {
    let chain = Chain::devchain(1);
    let lottery = chain.deploy(Timing::default());
    let daemon = following(&lottery, json!({}));
    let mut browser = Browser::start();
    let large = json!({"fontSizes": {"standard": 32}});
    browser.ask("Page.setFontSizes", large);
    browser.go_to(&daemon.url);
    lottery.bet(3, BET_WEI);
    lottery.bet(4, BET_WEI);
    browser.wait_text_in("#pot-line", "2 players");
    assert_nothing_covered(&mut browser);
    lottery.skip_to(lottery.round().min_draw_time);
    lottery.operate("drawWinner", &[]);
    browser.wait_text_in("#big", "takes it");
    assert_nothing_covered(&mut browser);
}

fn assert_nothing_covered(browser: &mut Browser) {
    for width in [360, 768, 1280] {
        set_width(browser, width);
        let covered = browser.evaluate(
            "(() => { const texts = [...document.querySelectorAll('.hero-top > *')].filter((node) => node.checkVisibility()); \
               const place = (node) => { const range = document.createRange(); range.selectNodeContents(node); const { left, right } = range.getBoundingClientRect(); \
               const { top, bottom } = node.getBoundingClientRect(); return { left, right, top, bottom }; }; \
               const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1; \
               return texts.flatMap((one, index) => texts.slice(index + 1).filter((other) => meet(place(one), place(other))).map((other) => `${one.id} and ${other.id}`)); })()",
        );
        assert_eq!(covered, json!([]), "at {width} px");
    }
}
