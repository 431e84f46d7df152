//! A daemon of the campaign: its settings, and its core while it runs. When it is started and killed is the campaign's.

use std::sync::{Arc, Mutex};

use lottery::actors::messages::PublicationReceiver;
use lottery::app::{Core, Outside};
use lottery::base::metrics::Metrics;
use lottery::base::shutdown::Shutdown;
use lottery::chain::endpoints::Endpoints;
use lottery::chain::transport::Transport;
use lottery::config::{self, Config, Sources};
use support::chain::{CHAIN_ID, OPERATOR_KEY};

use crate::baton::{Baton, Group};
use crate::campaign::contract_address;
use crate::plan::Plan;
use crate::wire::{Sky, Wire};

pub struct Daemon {
    config: Config,
    pub running: Option<Running>,
}

pub struct Running {
    pub core: Core,
    pub group: Group,
    pub publications: PublicationReceiver,
}

impl Daemon {
    /// The first of the plan's, or the one that stands by.
    pub fn new(plan: &Plan, index: usize) -> Daemon {
        let urls: Vec<String> = (0..plan.endpoints.len())
            .map(|index| format!("http://node-{index}"))
            .collect();
        let mut sets = vec![
            format!("blockchain.rpc_url={}", urls.join(",")),
            format!("blockchain.chain_id={CHAIN_ID}"),
            format!("blockchain.contract_address={:#x}", contract_address()),
        ];
        if let Some(standby) = plan.standby.filter(|_| index > 0) {
            sets.push(format!("operator.standby_delay={}", standby.as_secs()));
        }
        if let Some(cap) = plan.daily_cap {
            sets.push(format!("operator.max_spend_ether_per_day={}", cap.ether));
        }
        Daemon {
            config: load(&sets),
            running: None,
        }
    }

    /// Starts it as that group of threads.
    pub fn start(&mut self, group: Group, baton: &Arc<Baton>, sky: &Arc<Mutex<Sky>>) {
        let clock = baton.clock();
        let transport = |endpoint| {
            let wire = Wire {
                baton: baton.clone(),
                sky: sky.clone(),
                run: group,
                endpoint,
                host: format!("http://node-{endpoint}"),
            };
            Arc::new(wire) as Arc<dyn Transport>
        };
        let transports = (0..self.config.blockchain.rpc_urls.len()).map(transport);
        let metrics = Metrics::default();
        let outside = Outside {
            endpoints: Endpoints::over(transports.collect(), CHAIN_ID, clock.clone(), &metrics),
            clock,
            metrics,
        };
        let config = &self.config;
        let start = || Core::start_in(outside, config, true, Shutdown::new(), vec![None]);
        let started = baton.in_group(group, start);
        let (core, mut publications) = started.unwrap_or_else(|error| panic!("no start: {error}"));
        self.running = Some(Running {
            core,
            group,
            publications: publications.remove(0),
        });
    }
}

fn load(sets: &[String]) -> Config {
    let env = vec![(
        "LOTTERY_OPERATOR_PRIVATE_KEY".to_owned(),
        OPERATOR_KEY.to_owned(),
    )];
    let sources = Sources {
        file: None,
        env,
        sets,
    };
    config::load(sources).unwrap_or_else(|error| panic!("the simulation's configuration: {error}"))
}
