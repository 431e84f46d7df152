//! `lottery check`: everything that a draw and a refund will ask, asked now, dry, of every endpoint alone. What would
//! stop them is named with the way out, what makes them worse with its cost. The one transaction that is handed to an
//! endpoint is one that no pool may take.

mod findings;
mod questions;
mod rules;

use serde_json::json;

use crate::actors::webhook;
use crate::app;
use crate::base::clock::Clock;
use crate::base::metrics::Metrics;
use crate::chain::signer::{signing_proof, RemoteSigner, Signer};
use crate::chain::subscription::{Reach, Subscription};
use crate::chain::types::to_checksum;
use crate::chain::url::shown_host;
use crate::commands::arguments::{CommandSpec, OptionSpec, JSON};
use crate::commands::check::findings::{Finding, Findings, Verdict};
use crate::commands::exit::Exit;
use crate::commands::load;
use crate::commands::output::{print, tell};
use crate::config::Config;
use crate::lottery::action::ActionKind;
use crate::lottery::contract::action_calldata;

/// `--alert`.
const ALERT: OptionSpec = OptionSpec {
    long: "alert",
    short: None,
    value: None,
    meaning: "also post a test alert to operator.alert_webhook",
};

pub(super) static COMMAND: CommandSpec = CommandSpec {
    name: "check",
    operand: None,
    summary: "ask every endpoint all that a draw and a refund will ask; sends nothing",
    details: "\
Each endpoint is asked alone. A line with NO is something that would stop a draw or a refund,
and ends the command with exit code 3; the next line says the way out. A line with \"warn\" is
something that both can do without, with what that costs. No transaction is made: an endpoint
is only tried with one that no pool may take, a signer elsewhere with one that no block can
take. With --alert the receiver of alerts is tried too.
",
    options: &[ALERT, JSON],
    examples: &["lottery check", "lottery check --config next.conf --alert"],
    run: |arguments| match load::whole(arguments) {
        Ok(config) => run(&config, arguments.has(&ALERT), arguments.has(&JSON)),
        Err(exit) => exit,
    },
};

fn run(config: &Config, with_alert: bool, as_json: bool) -> Exit {
    let clock = Clock::system();
    let started = app::load_signer(config, &clock).and_then(|signer| {
        let endpoints = app::endpoints(config, &clock, &Metrics::default())?;
        Ok((signer, endpoints))
    });
    let (signer, endpoints) = match started {
        Ok(started) => started,
        Err(error) => {
            tell(&error.to_string());
            return Exit::Usage;
        }
    };
    let key = signer.as_ref().map(Signer::address);
    let mut findings = vec![Finding {
        subject: "key".to_owned(),
        check: "loaded",
        verdict: match key {
            Some(_) => Verdict::Good,
            None => Verdict::Plain,
        },
        found: key.map_or("none: the daemon will not draw".to_owned(), |address| {
            to_checksum(&address)
        }),
        advice: None,
    }];
    if let Some(Signer::Elsewhere(remote)) = &signer {
        findings.push(signature(remote, config));
    }
    for endpoint in endpoints.list() {
        let mut of_endpoint = Findings::of(endpoint.host());
        questions::ask_all(endpoint, config, key, &mut of_endpoint);
        findings.append(&mut of_endpoint.list);
    }
    for url in &config.blockchain.subscribe_urls {
        findings.push(subscription(url.expose(), config));
    }
    if with_alert {
        findings.append(&mut alert(config).list);
    }
    let passed = findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Bad);
    let text = match as_json {
        true => format!("{}\n", as_value(&findings, passed)),
        false => as_table(&findings),
    };
    print(&text, if passed { Exit::Done } else { Exit::No })
}

/// A signature of a draw that no block can take shows that the signer answers, has the account, signs for this chain and
/// lets the contract's calls pass.
fn signature(signer: &RemoteSigner, config: &Config) -> Finding {
    const WAY_OUT: &str =
        "let the signer hold the account blockchain.operator_address, on this chain, and pass calls to the contract unasked";
    let blockchain = &config.blockchain;
    let draw = action_calldata(ActionKind::Draw);
    let proof = signing_proof(
        blockchain.chain_id,
        blockchain.contract_address,
        draw,
        false,
    );
    let (verdict, found) = match signer.sign(&proof) {
        Ok(_) => (
            Verdict::Good,
            "signs a draw that no block can take".to_owned(),
        ),
        Err(error) => (Verdict::Bad, error.detail()),
    };
    Finding {
        subject: signer.host().to_owned(),
        check: "signature",
        verdict,
        found,
        advice: (verdict == Verdict::Bad).then(|| WAY_OUT.to_owned()),
    }
}

fn subscription(url: &str, config: &Config) -> Finding {
    let blockchain = &config.blockchain;
    let (chain_id, contract) = (blockchain.chain_id, blockchain.contract_address);
    let authorities = app::authorities(config).map_err(|error| error.to_string());
    let opened = authorities.and_then(|authorities| {
        let timeout = blockchain.rpc_timeout;
        Subscription::open(&Reach::new(authorities), url, chain_id, contract, timeout)
            .map_err(|error| error.to_string())
    });
    let (verdict, found) = match opened {
        Ok(_) => (Verdict::Good, "heads and logs are announced".to_owned()),
        Err(why) => (Verdict::Bad, why),
    };
    let advice = "take another ws(s):// URL, or set event_manager.event_source to \"eth_getLogs\"";
    Finding {
        subject: shown_host(url, &["ws", "wss"]).unwrap_or_default(),
        check: "subscription",
        verdict,
        found,
        advice: (verdict == Verdict::Bad).then(|| advice.to_owned()),
    }
}

/// A test alert, posted once: what does not arrive now would not arrive in the night.
fn alert(config: &Config) -> Findings {
    const CHECK: &str = "test alert";
    const WAY_OUT: &str =
        "set operator.alert_webhook, and operator.alert_format to what its receiver expects";
    let operator = &config.operator;
    let mut findings = Findings::of("alerts");
    let Some(url) = &operator.alert_webhook else {
        let found = "operator.alert_webhook is not set: nobody would be told";
        findings.bad(CHECK, found, WAY_OUT);
        return findings;
    };
    match webhook::send_test_alert(url.expose(), operator.alert_format, &Clock::system()) {
        Ok(()) => findings.good(CHECK, "a test alert was taken"),
        Err(problem) => findings.bad(CHECK, problem, WAY_OUT),
    }
    findings
}

fn as_value(findings: &[Finding], passed: bool) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "subject": finding.subject,
                "check": finding.check,
                "passed": finding.verdict.passed(),
                "level": finding.verdict.label(),
                "found": finding.found,
                "advice": finding.advice,
            })
        })
        .collect();
    json!({"passed": passed, "checks": rows})
}

fn as_table(findings: &[Finding]) -> String {
    let width = |text: fn(&Finding) -> usize| findings.iter().map(text).max().unwrap_or(0);
    let subjects = width(|finding| finding.subject.len());
    let checks = width(|finding| finding.check.len());
    let mut text = String::new();
    for finding in findings {
        text += &format!(
            "{:4}  {:subjects$}  {:checks$}  {}\n",
            finding.verdict.mark(),
            finding.subject,
            finding.check,
            finding.found
        );
        if let Some(advice) = &finding.advice {
            text += &format!("{:4}  {:subjects$}  {:checks$}  -> {advice}\n", "", "", "");
        }
    }
    text
}
