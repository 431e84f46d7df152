//! Small files, most of them texts: read whole, but never without end, since a path may name a device or a pipe.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use rustix::fs::{fcntl_setfl, open, Mode, OFlags};
use zeroize::Zeroizing;

/// The whole text of a file; the copy in memory is wiped when it is dropped.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or has more than `bytes_max` bytes.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<Zeroizing<String>> {
    let bytes = read_bytes(path, bytes_max)?;
    // No text has a zero byte but in UTF-16, which some editors and shells write.
    let is_wide = bytes.starts_with(b"\xff\xfe") || bytes.contains(&0);
    let text = std::str::from_utf8(&bytes).ok().filter(|_| !is_wide);
    let problem = match is_wide {
        true => "it is UTF-16, allowed is UTF-8",
        false => "it is not UTF-8",
    };
    text.map(|text| Zeroizing::new(text.to_owned()))
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, problem))
}

/// The same of any file.
///
/// # Errors
/// When it cannot be read, or has more than `bytes_max` bytes.
pub(crate) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>> {
    // Nobody waits for the other end of a pipe, which may never be opened: without one, it is empty.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    fcntl_setfl(&file, OFlags::empty())?;
    let mut bytes = Zeroizing::new(Vec::new());
    let is_longer = file.metadata()?.len() > bytes_max;
    if !is_longer {
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    }
    if is_longer || bytes.len() as u64 > bytes_max {
        let problem = format!("it has more than {bytes_max} bytes, which are allowed");
        return Err(Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused() {
        let error = read_text(Path::new("/dev/zero"), 1_000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has more than 1000 bytes, which are allowed"
        );
        assert_eq!(*read_text(Path::new("/dev/null"), 0).unwrap(), "");
    }

    #[test]
    fn a_text_that_is_none_is_told_by_its_encoding() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("text");
        for (bytes, told) in [
            (&b"\xff\xfe{\0}\0"[..], "it is UTF-16, allowed is UTF-8"),
            (b"\xfe\xff\0{\0}", "it is UTF-16, allowed is UTF-8"),
            (b"{\0}\0", "it is UTF-16, allowed is UTF-8"),
            (b"\xff{}", "it is not UTF-8"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_text(&path, 9).unwrap_err().to_string(), told);
        }
    }
}
