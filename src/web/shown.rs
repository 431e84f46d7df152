//! What was sent, as an error may show it: cut short, and without anything that could break a line or a terminal.

const LEN_MAX: usize = 80;

/// As much of a text as an error needs.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same of opaque bytes; what is not printable comes as escapes.
pub(crate) fn shown_bytes(bytes: &[u8]) -> String {
    let within = &bytes[..bytes.len().min(4 * LEN_MAX)];
    let printable: String = String::from_utf8_lossy(within)
        .chars()
        .flat_map(|known| {
            let is_plain = !known.is_control();
            let plain = is_plain.then_some(known).into_iter();
            let escaped = (!is_plain).then(|| known.escape_default());
            plain.chain(escaped.into_iter().flatten())
        })
        .collect();
    shown(&printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_short_and_printable() {
        assert_eq!(shown("abc"), "abc");
        assert_eq!(shown(&"é".repeat(81)), format!("{}…", "é".repeat(80)));
        assert_eq!(shown_bytes(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(shown_bytes(b"a\r\n\x1b[0m"), "a\\r\\n\\u{1b}[0m");
        assert_eq!(shown_bytes(&[b'x'; 9_000]).chars().count(), 81);
    }
}
