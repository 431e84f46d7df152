//! `lottery run`: the daemon, until a signal or a failure that it cannot live with.

use std::time::Instant;

use crate::app::Daemon;
use crate::base::memory;
use crate::base::shutdown::{Shutdown, StopReason};
use crate::commands::arguments::{Arguments, CommandSpec};
use crate::commands::exit::{Exit, ENDED_AT_ONCE};
use crate::commands::load;
use crate::commands::output::tell;
use crate::commands::signals;
use crate::commands::systemd::{status_line, Notifier};

pub(super) static COMMAND: CommandSpec = CommandSpec {
    name: "run",
    operand: None,
    summary: "follow, draw and serve (this is what happens without a command)",
    details: "\
Runs until SIGINT or SIGTERM; a second signal ends it at once. A signal that is ignored when
it starts (SIGHUP under nohup) stays ignored.
",
    options: &[],
    examples: &[
        "lottery --set blockchain.contract_address=0x5FbDB2315678afecb367f032d93F642f64180aa3",
        "lottery --config /etc/lottery/lottery.conf",
    ],
    run,
};

fn run(arguments: &Arguments) -> Exit {
    memory::share_one_store();
    let config = match load::whole(arguments) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let shutdown = Shutdown::new();
    let on_signal = shutdown.clone();
    let installed = signals::on_stop(move || {
        if on_signal.is_tripped() {
            std::process::exit(ENDED_AT_ONCE);
        }
        log::info!("stopping");
        on_signal.trip(StopReason::Requested);
    });
    if let Err(error) = installed {
        tell(&format!("signals cannot be handled: {error}"));
        return Exit::Failed;
    }
    let daemon = match Daemon::start(&config, shutdown.clone()) {
        Ok(daemon) => daemon,
        Err(error) => {
            tell(&error.to_string());
            return match error.is_configuration() {
                true => Exit::Usage,
                false => Exit::Failed,
            };
        }
    };
    log::info!(
        "serving on http://{} (API at /api/status, feed at /ws/lottery)",
        daemon.local_addr()
    );
    if let Some(address) = daemon.private_addr() {
        log::info!("metrics on http://{address}/metrics");
    }
    if let Some(notifier) = Notifier::from_env(&arguments.env) {
        keep_systemd_informed(notifier, &daemon, &shutdown);
    }
    match daemon.wait() {
        StopReason::Requested => {
            log::info!("stopped");
            Exit::Done
        }
        StopReason::Failed(why) => {
            log::error!("stopped: {why}");
            Exit::Failed
        }
    }
}

/// Until the daemon is told to stop.
fn keep_systemd_informed(mut notifier: Notifier, daemon: &Daemon, shutdown: &Shutdown) {
    notifier.ready();
    loop {
        let now = Instant::now();
        let status = status_line(&daemon.snapshot().load(), now);
        notifier.tick(daemon.is_turning(now), status);
        if shutdown.wait_timeout(notifier.period()) {
            return notifier.stopping();
        }
    }
}
