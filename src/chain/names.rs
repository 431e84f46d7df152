//! Where hosts are. An answer of the name service is good for half a minute, and one that has grown old is better than none:
//! while names cannot be looked up, whoever was reached before is reached still.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::Timeout;

/// So long an answer is taken without asking anew. The system does not tell how long the name's owner allows; who moves to
/// other addresses keeps the old ones up for a minute and more.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// So long a look-up may take where an older answer is known.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of where hosts are; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Names(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A proxy may have a name beside the endpoint's: one or two.
    known: Mutex<Vec<Known>>,
    service: Box<dyn Resolver>,
}

#[derive(Clone, Debug)]
struct Known {
    name: String,
    addresses: ResolvedSocketAddrs,
    /// None once nothing was reached there.
    good_until: Option<Instant>,
}

impl Names {
    /// By the system's name service.
    pub(crate) fn new() -> Names {
        Names::told_by(DefaultResolver::default())
    }

    pub(crate) fn told_by(service: impl Resolver) -> Names {
        Names(Arc::new(Shared {
            known: Mutex::default(),
            service: Box::new(service),
        }))
    }

    /// Whose requests go where these names are.
    pub(crate) fn agent(&self, config: Config) -> ureq::Agent {
        ureq::Agent::with_parts(config, DefaultConnector::default(), self.clone())
    }

    /// Where that port of a host is. The look-up ends within so long.
    ///
    /// # Errors
    /// That the name is not found, or not in time.
    pub(crate) fn find(
        &self,
        host: &str,
        port: u16,
        within: Duration,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        // Its port names the service, whatever that speaks.
        let uri = format!("http://{host}:{port}/");
        let uri = uri.parse().map_err(|_| ureq::Error::HostNotFound)?;
        let timeout = NextTimeout {
            after: within.into(),
            reason: Timeout::Resolve,
            ..NextTimeout::default()
        };
        self.resolve(&uri, &Config::default(), timeout)
    }

    /// Nothing was reached at an address that was told here: each name is looked up when it is needed next.
    pub(crate) fn doubt(&self) {
        for known in self.known().iter_mut() {
            known.good_until = None;
        }
    }

    fn known(&self) -> MutexGuard<'_, Vec<Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of `name`; `look_up` asks for them, within so long.
    fn addresses(
        &self,
        name: String,
        now: Instant,
        look_up: impl FnOnce(Option<Duration>) -> Result<ResolvedSocketAddrs, ureq::Error>,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let old = self
            .known()
            .iter()
            .find(|known| known.name == name)
            .cloned();
        // Nothing is locked while the service thinks.
        let addresses = match old {
            Some(known) if known.good_until.is_some_and(|until| now < until) => {
                return Ok(known.addresses)
            }
            Some(known) => look_up(Some(PATIENCE)).unwrap_or(known.addresses),
            None => look_up(None)?,
        };
        let mut all = self.known();
        all.retain(|known| known.name != name);
        all.push(Known {
            name,
            addresses: addresses.clone(),
            good_until: Some(now + GOOD_FOR),
        });
        Ok(addresses)
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let named = uri.scheme().zip(uri.authority());
        let named = named.and_then(|(scheme, host)| DefaultResolver::host_and_port(scheme, host));
        let Some(name) = named else {
            return self.0.service.resolve(uri, config, timeout);
        };
        // An address names itself: no thread has to ask for it.
        if let Ok(address) = name.parse() {
            let mut addresses = self.empty();
            addresses.push(address);
            return Ok(addresses);
        }
        self.addresses(name, Instant::now(), |within| {
            let after = match within {
                Some(within) => timeout.after.min(within.into()),
                None => timeout.after,
            };
            self.0
                .service
                .resolve(uri, config, NextTimeout { after, ..timeout })
        })
    }
}

/// The port that a URL names, else the standard one of its scheme.
pub(crate) fn port_of(uri: &Uri) -> u16 {
    let standard = match uri.scheme_str() {
        Some("https" | "wss") => 443,
        _ => 80,
    };
    uri.port_u16().unwrap_or(standard)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A name service that answers each look-up with the next of these ports on this machine, and after the last with
    /// nothing.
    #[derive(Debug)]
    pub(crate) struct Script(Mutex<VecDeque<u16>>);

    impl Script {
        pub(crate) fn of(ports: &[u16]) -> Script {
            Script(Mutex::new(ports.iter().copied().collect()))
        }
    }

    impl Resolver for Script {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let port = self.0.lock().unwrap().pop_front();
            let port = port.ok_or(ureq::Error::HostNotFound)?;
            Ok(one(port))
        }
    }

    fn one(port: u16) -> ResolvedSocketAddrs {
        let mut addresses = Names::new().empty();
        addresses.push(([127, 0, 0, 1], port).into());
        addresses
    }

    /// Each step: seconds since the start, whether there was doubt before it, what a look-up would find (0: nothing), and
    /// what comes of it, with how long a look-up might take where there was one.
    #[test]
    fn an_old_answer_is_better_than_none() {
        let limited = Some(Some(PATIENCE));
        let start = Instant::now();
        let names = Names::new();
        for (secs, doubted, found, told, within) in [
            (0, false, 0, None, Some(None)),
            (1, false, 7, Some(7), Some(None)),
            (30, false, 8, Some(7), None),
            (31, false, 8, Some(8), limited),
            // Nothing is found: what was known holds, and is not asked for each time.
            (61, false, 0, Some(8), limited),
            (90, false, 9, Some(8), None),
            (91, false, 0, Some(8), limited),
            // Nothing was reached there.
            (92, true, 0, Some(8), limited),
            (93, false, 9, Some(8), None),
            (94, true, 9, Some(9), limited),
            (95, false, 0, Some(9), None),
        ] {
            if doubted {
                names.doubt();
            }
            let mut asked = None;
            let now = start + Duration::from_secs(secs);
            let addresses = names.addresses("name:1".to_owned(), now, |within| {
                asked = Some(within);
                match found {
                    0 => Err(ureq::Error::HostNotFound),
                    port => Ok(one(port)),
                }
            });
            assert_eq!(addresses.ok(), told.map(one), "after {secs} s");
            assert_eq!(asked, within, "after {secs} s");
        }
    }

    /// Answers as late as it may.
    #[derive(Debug)]
    struct Late;

    impl Resolver for Late {
        fn resolve(
            &self,
            _: &Uri,
            _: &Config,
            timeout: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            assert_eq!(timeout.after, Duration::from_secs(3).into());
            Err(ureq::Error::Timeout(timeout.reason))
        }
    }

    #[test]
    fn a_look_up_ends_in_time() {
        let names = Names::told_by(Late);
        let found = names.find("name.example", 80, Duration::from_secs(3));
        let is_late = matches!(found, Err(ureq::Error::Timeout(Timeout::Resolve)));
        assert!(is_late, "{found:?}");
    }

    #[test]
    fn of_one_name_nothing_is_known_by_another() {
        let names = Names::new();
        let now = Instant::now();
        for (name, port) in [("a:80", 1), ("b:80", 2), ("a:81", 3)] {
            let addresses = names.addresses(name.to_owned(), now, |_| Ok(one(port)));
            assert_eq!(addresses.unwrap(), one(port), "{name}");
        }
    }
}
