//! What an audit keeps between two runs: FILE holds the sums up to a block, and FILE.rows beside it a line for each round
//! before, to which lines are only ever added. FILE says how long the other one is, and is put in place whole: so an end in
//! the middle spoils nothing. A digest of both is kept, so that nothing is counted on that was not written here.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use crate::base::text_file::read_bytes;
use crate::chain::types::{Address, H256};
use crate::lottery::audit::{Audit, Row};
use crate::lottery::rules::Rules;

/// Some two million rounds.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The text of a refund's reason is the contract's, of any length; a longer line is read anew.
const ROW_BYTES_MAX: u64 = 1 << 20;
/// How each FILE begins.
const BEGINNING: &[u8] = b"{\"subject\":";

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
pub(super) struct Kept<A, R> {
    pub subject: Subject,
    /// Number and hash of the newest block that was read.
    pub block: (u64, H256),
    /// How long the file of rows is, and the digest of what it holds.
    rows_bytes: u64,
    rows_digest: H256,
    pub audit: A,
    pub rules: R,
}

impl Kept<Audit, Rules> {
    /// What `path` keeps of this subject.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(path: &Path, subject: &Subject) -> Result<Self, String> {
        let bytes = read_bytes(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
        // The digest is a line of its own, the last one.
        let (text, digest) = bytes.split_at(bytes.len().saturating_sub(DIGEST_LINE_BYTES));
        if digest != digest_line(text).as_bytes() {
            return Err("not as it was written, or by another version".to_owned());
        }
        let kept: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match kept.subject == *subject {
            true => Ok(kept),
            false => Err("of another chain, contract or first round".to_owned()),
        }
    }
}

/// An audit that goes on, or why it cannot.
pub(super) type Resumed = Result<(Files, Kept<Audit, Rules>), String>;

/// The two files of an audit that goes on.
pub(super) struct Files {
    path: PathBuf,
    rows: BufWriter<File>,
    rows_bytes: u64,
    rows_digest: Keccak256,
}

/// Refuses what must not be written over: an audit may take its place only in a file of its own.
///
/// # Errors
/// What is in the way.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let problem = |text| Err(io::Error::new(ErrorKind::InvalidInput, text));
    for path in [path.to_owned(), rows_path(path), new_path(path)] {
        if std::fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return problem(format!("{}: not a file", path.display()));
        }
    }
    let mut beginning = Vec::new();
    match File::open(path) {
        Ok(file) => file
            .take(BEGINNING.len() as u64)
            .read_to_end(&mut beginning)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return problem(format!("{}: {error}", path.display())),
    };
    if !beginning.is_empty() && beginning != BEGINNING {
        let path = path.display();
        return problem(format!("{path}: not of an audit: it would be written over"));
    }
    Ok(())
}

impl Files {
    /// Opens the files of an audit that begins anew.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn create(path: &Path) -> io::Result<Files> {
        Files::open(path, 0, Keccak256::new())
    }

    /// Goes on from what `path` keeps. Each of its rounds is given to `take`, once all of them are known to be readable.
    ///
    /// # Errors
    /// Why the rounds that are kept beside it cannot be used.
    pub fn resume(path: &Path, kept: Kept<Audit, Rules>, mut take: impl FnMut(&Row)) -> Resumed {
        let rows = rows_path(path);
        let told = |error: String| format!("{}: {error}", rows.display());
        let digest = each_row(&rows, kept.rows_bytes, |_| {}).map_err(told)?;
        if digest.clone().finalize()[..] != *kept.rows_digest.as_bytes() {
            return Err(told("not as it was written".to_owned()));
        }
        each_row(&rows, kept.rows_bytes, |row| take(&row)).map_err(told)?;
        let files = Files::open(path, kept.rows_bytes, digest);
        let files = files.map_err(|error| told(error.to_string()))?;
        Ok((files, kept))
    }

    fn open(path: &Path, rows_bytes: u64, rows_digest: Keccak256) -> io::Result<Files> {
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
            rows_digest,
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
        self.rows_digest.update(&line);
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
        rules: &Rules,
    ) -> io::Result<()> {
        self.rows.flush()?;
        let kept = Kept {
            subject,
            block,
            rows_bytes: self.rows_bytes,
            rows_digest: H256::from_slice(&self.rows_digest.clone().finalize()),
            audit,
            rules,
        };
        let mut text = serde_json::to_vec(&kept)?;
        let digest = digest_line(&text);
        text.extend_from_slice(digest.as_bytes());
        let beside = new_path(&self.path);
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, &self.path)
    }
}

/// A line's end before and after 64 digits.
const DIGEST_LINE_BYTES: usize = 66;

fn digest_line(text: &[u8]) -> String {
    format!("\n{}\n", hex::encode(Keccak256::digest(text)))
}

fn rows_path(path: &Path) -> PathBuf {
    with_ending(path, ".rows")
}

fn new_path(path: &Path) -> PathBuf {
    with_ending(path, ".new")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Gives out the rows in the file's first `bytes`; the digest of these.
fn each_row(path: &Path, bytes: u64, mut take: impl FnMut(Row)) -> Result<Keccak256, String> {
    let told = |error: io::Error| error.to_string();
    let file = File::open(path).map_err(told)?;
    let mut rows = BufReader::new(file.take(bytes));
    let (mut digest, mut line) = (Keccak256::new(), Vec::new());
    loop {
        line.clear();
        let mut row = rows.by_ref().take(ROW_BYTES_MAX);
        if row.read_until(b'\n', &mut line).map_err(told)? == 0 {
            return Ok(digest);
        }
        take(serde_json::from_slice(&line).map_err(|error| error.to_string())?);
        digest.update(&line);
    }
}
