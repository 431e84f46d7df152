//! The daemon's log, printed with simulated time while a campaign is told. Otherwise nothing listens.

use ::log::{LevelFilter, Log, Metadata, Record};

struct Told;

impl Log for Told {
    fn enabled(&self, _metadata: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let at = crate::baton::elapsed_here();
        println!(
            "{:>9.3}  | {:5} {}",
            at.as_secs_f64(),
            record.level(),
            record.args()
        );
    }

    fn flush(&self) {}
}

/// From here on the log is printed, and with `calls` also every request.
pub fn tell(calls: bool) {
    if ::log::set_logger(&Told).is_ok() {
        ::log::set_max_level(if calls {
            LevelFilter::Trace
        } else {
            LevelFilter::Debug
        });
    }
}
