//! What an audit keeps between two runs: FILE holds the sums up to a block, and FILE.rows beside it a line for each round
//! before, to which lines are only ever added. FILE says how long the other one is, and is put in place whole: so an end in
//! the middle spoils nothing.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::chain::types::{Address, H256};
use crate::lottery::audit::{Audit, Row};
use crate::lottery::calendar::Calendar;

/// What was read, of which chain and contract, and up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Subject {
    pub chain_id: u64,
    pub contract: Address,
    /// The first round.
    pub from: u64,
}

/// The sums up to a block.
#[derive(Deserialize, Serialize)]
pub(super) struct Kept<A, C> {
    pub subject: Subject,
    /// Number and hash of the newest block that was read.
    pub block: (u64, H256),
    /// How long the file of rows is.
    rows_bytes: u64,
    pub audit: A,
    pub calendar: C,
}

impl Kept<Audit, Calendar> {
    /// What `path` keeps of this subject.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(path: &Path, subject: &Subject) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let kept: Self = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match kept.subject == *subject {
            true => Ok(kept),
            false => Err("of another chain, contract or first round".to_owned()),
        }
    }
}

/// An audit that goes on, or why it cannot.
pub(super) type Resumed = Result<(Files, Kept<Audit, Calendar>), String>;

/// The two files of an audit that goes on.
pub(super) struct Files {
    path: PathBuf,
    rows: BufWriter<File>,
    rows_bytes: u64,
}

impl Files {
    /// Opens the files of an audit that begins anew.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn create(path: &Path) -> io::Result<Files> {
        Files::open(path, 0)
    }

    /// Goes on from what `path` keeps. Each of its rounds is given to `take`, once all of them are known to be readable.
    ///
    /// # Errors
    /// Why the rounds that are kept beside it cannot be used.
    pub fn resume(path: &Path, kept: Kept<Audit, Calendar>, mut take: impl FnMut(&Row)) -> Resumed {
        let rows = rows_path(path);
        let told = |error: String| format!("{}: {error}", rows.display());
        let mut rounds = 0;
        each_row(&rows, kept.rows_bytes, |_| rounds += 1).map_err(told)?;
        if rounds != kept.audit.rounds() {
            return Err(told(format!("{rounds} rounds, not all of them")));
        }
        each_row(&rows, kept.rows_bytes, |row| take(&row)).map_err(told)?;
        let files = Files::open(path, kept.rows_bytes).map_err(|error| told(error.to_string()))?;
        Ok((files, kept))
    }

    fn open(path: &Path, rows_bytes: u64) -> io::Result<Files> {
        let mut options = OpenOptions::new();
        let mut rows = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(rows_path(path))?;
        // What was written after the sums were is of no use.
        rows.set_len(rows_bytes)?;
        rows.seek(SeekFrom::End(0))?;
        Ok(Files {
            path: path.to_owned(),
            rows: BufWriter::new(rows),
            rows_bytes,
        })
    }

    /// Adds a round.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, row: &Row) -> io::Result<()> {
        let mut line = serde_json::to_vec(row)?;
        line.push(b'\n');
        self.rows_bytes += line.len() as u64;
        self.rows.write_all(&line)
    }

    /// Puts the sums up to `block` in place.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn save(
        &mut self,
        subject: Subject,
        block: (u64, H256),
        audit: &Audit,
        calendar: &Calendar,
    ) -> io::Result<()> {
        self.rows.flush()?;
        let kept = Kept {
            subject,
            block,
            rows_bytes: self.rows_bytes,
            audit,
            calendar,
        };
        let beside = with_ending(&self.path, ".new");
        let mut file = BufWriter::new(File::create(&beside)?);
        serde_json::to_writer(&mut file, &kept)?;
        file.flush()?;
        drop(file);
        std::fs::rename(&beside, &self.path)
    }
}

fn rows_path(path: &Path) -> PathBuf {
    with_ending(path, ".rows")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

fn each_row(path: &Path, bytes: u64, mut take: impl FnMut(Row)) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    for line in BufReader::new(file.take(bytes)).lines() {
        let line = line.map_err(|error| error.to_string())?;
        take(serde_json::from_str(&line).map_err(|error| error.to_string())?);
    }
    Ok(())
}
