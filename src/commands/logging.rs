//! The log: to stderr, as much as RUST_LOG says. Each line is one record, whatever stands in it. What is configured as
//! secret is taken out of every line, so that not even a server that echoes our request can bring a key into the log.
//! Whoever stops reading the log holds nothing up: lines that would wait for him are lost, and counted. Under journald a
//! line begins with its syslog level and bears no time, since the journal keeps both.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use env_logger::fmt::Formatter;
use env_logger::Target;
use log::{Level, LevelFilter, Record};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::retry_on_intr;
use zeroize::Zeroizing;

/// At trace these print whole requests and handshakes.
const NEVER_BELOW_INFO: &[&str] = &[
    "ureq",
    "ureq_proto",
    "rustls",
    "tungstenite",
    "tiny_http",
    "polling",
    "mio",
];
const HIDDEN: &str = "***";

/// A pipe that takes anything takes so much at once.
const TAKEN_AT_ONCE_BYTES: usize = 4_096;
/// So long a reader may be busy with something else before lines are lost.
const READER_PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
const NO_PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Texts that must not be logged.
type Hidden = Arc<RwLock<Vec<Zeroizing<String>>>>;

static HIDDEN_TEXTS: OnceLock<Hidden> = OnceLock::new();

/// Starts logging; a second time, as in tests, changes nothing.
pub(crate) fn start() {
    let filter = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = match filter.trim() {
        "" => "info",
        filter => filter,
    };
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter);
    for target in NEVER_BELOW_INFO {
        builder.filter_module(target, LevelFilter::Info);
    }
    let hidden = hidden_texts();
    let for_journal = stderr_is_the_journal();
    builder.format(move |out, record| {
        let hidden = hidden.read().unwrap_or_else(PoisonError::into_inner);
        let text = line_of(&record.args().to_string(), &hidden);
        write_line(out, record, &text, for_journal)
    });
    let log = Log {
        out: std::io::stderr(),
        lost: 0,
    };
    builder.target(Target::Pipe(Box::new(log)));
    let _ = builder.try_init();
}

/// From now on these texts are taken out of every line.
pub(crate) fn hide(texts: Vec<Zeroizing<String>>) {
    let hidden = hidden_texts();
    let mut hidden = hidden.write().unwrap_or_else(PoisonError::into_inner);
    hidden.extend(texts);
    // What contains another one goes first, so that nothing of it stays.
    hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
}

fn hidden_texts() -> Hidden {
    HIDDEN_TEXTS.get_or_init(Hidden::default).clone()
}

/// What lines are written to: a pager, a terminal that is held, or the full log of a container would keep every thread
/// that has something to say, and so the draw.
struct Log<W> {
    out: W,
    /// Lines since the last one that was taken.
    lost: u64,
}

impl<W: Write + AsFd> Log<W> {
    fn is_read(&self) -> bool {
        let patience = match self.lost {
            0 => READER_PATIENCE,
            _ => NO_PATIENCE,
        };
        let mut out = [PollFd::new(&self.out, PollFlags::OUT)];
        retry_on_intr(|| poll(&mut out, Some(&patience))) != Ok(0)
    }
}

impl<W: Write + AsFd> Write for Log<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if !self.is_read() {
            self.lost += 1;
            return Ok(line.len());
        }
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            writeln!(
                self.out,
                "{lost} lines of the log were read by nobody and are lost"
            )?;
            return self.write(line);
        }
        self.out.write(&line[..line.len().min(TAKEN_AT_ONCE_BYTES)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn write_line(
    out: &mut Formatter,
    record: &Record,
    text: &str,
    for_journal: bool,
) -> std::io::Result<()> {
    let level = record.level();
    match for_journal {
        true => writeln!(out, "<{}>{text}", syslog_level(level)),
        false => {
            let time = out.timestamp();
            writeln!(out, "[{time} {level:5} {}] {text}", record.target())
        }
    }
}

fn syslog_level(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A message as one line without secrets.
fn line_of(message: &str, hidden: &[Zeroizing<String>]) -> String {
    let mut line = message.to_owned();
    for text in hidden {
        if line.contains(text.as_str()) {
            line = line.replace(text.as_str(), HIDDEN);
        }
    }
    match line.contains(char::is_control) {
        true => line
            .chars()
            .map(|char| if char.is_control() { ' ' } else { char })
            .collect(),
        false => line,
    }
}

/// True when JOURNAL_STREAM names the very file that stderr is: then the journal reads it.
fn stderr_is_the_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stat = rustix::fs::fstat(std::io::stderr());
    stat.is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_no_secret_and_no_second_line() {
        let hidden = |texts: &[&str]| -> Vec<Zeroizing<String>> {
            let texts = texts.iter().map(|text| Zeroizing::new((*text).to_owned()));
            texts.collect()
        };
        for (message, texts, line) in [
            ("all is well", &["k3y"][..], "all is well"),
            (
                "GET /v3/k3y failed: k3y",
                &["k3y"],
                "GET /v3/*** failed: ***",
            ),
            ("a\n<3>b\r\u{1b}[31mc", &[], "a <3>b  [31mc"),
            ("k3y-and-more", &["k3y-and-more", "k3y"], "***"),
        ] {
            assert_eq!(line_of(message, &hidden(texts)), line);
        }
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nobody_up_and_says_what_is_lost() {
        let (mut reader, out) = std::io::pipe().unwrap();
        let mut log = Log { out, lost: 0 };
        let long = [b'x'; 10_000];
        for _ in 0..30 {
            log.write_all(&long).unwrap();
            log.write_all(b"\n").unwrap();
        }
        let lost = log.lost;
        assert!(lost > 40, "a pipe holds 65,536 bytes: {lost}");
        let mut read = [0; 1 << 16];
        std::io::Read::read(&mut reader, &mut read).unwrap();
        log.write_all(b"again\n").unwrap();
        drop(log);
        let rest = std::io::read_to_string(reader).unwrap();
        let told = format!("{lost} lines of the log were read by nobody and are lost\nagain\n");
        assert!(rest.ends_with(&told), "{rest:.200}");
    }

    #[test]
    fn levels_are_those_of_syslog() {
        let levels = [
            Level::Error,
            Level::Warn,
            Level::Info,
            Level::Debug,
            Level::Trace,
        ];
        assert_eq!(levels.map(syslog_level), [3, 4, 6, 7, 7]);
    }
}
