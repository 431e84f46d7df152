//! Small texts from files: read whole, but never without end, since a path may name a device or a pipe.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use zeroize::Zeroizing;

/// The whole text of a file; the copy in memory is wiped when it is dropped.
///
/// # Errors
/// When it cannot be read, is not UTF-8, or has more than `bytes_max` bytes.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let problem = format!("it has more than {bytes_max} bytes, which are allowed");
        return Err(Error::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
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
}
