//! For whom a trusted proxy speaks: the address in X-Forwarded-For that counts. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::Network;
use crate::web::http::Fields;

/// The address that a request of a trusted proxy counts for. The field is read from the right, since everything left of
/// what somebody trusted has written may be invented: the first address that is no trusted proxy's counts. Where one
/// cannot be read, the peer itself counts, and all such requests are one client. None when only proxies are named, or
/// nobody: then it is one of our own who asks.
pub(crate) fn counted_address(
    fields: &Fields,
    peer: IpAddr,
    trusted: &[Network],
) -> Option<IpAddr> {
    for item in fields.list("x-forwarded-for").rev() {
        let Some(address) = read(item) else {
            return Some(peer);
        };
        if !trusted.iter().any(|network| network.contains(&address)) {
            return Some(address);
        }
    }
    None
}

/// `ip`, `ip:port`, `[v6]` or `[v6]:port`.
fn read(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?;
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
        .or_else(|| {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        })?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_an_address_with_or_without_a_port() {
        for (item, address) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:443", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("[::ffff:192.0.2.1]:1", Some("192.0.2.1")),
            ("192.0.2.1:", None),
            ("192.0.2.1:99999", None),
            ("[192.0.2.1]", None),
            ("[2001:db8::1", None),
            ("2001:db8::1]", None),
            ("unknown", None),
            ("_hidden", None),
            ("example.org", None),
            ("192.0.2.256", None),
        ] {
            let expected = address.map(|text| text.parse().unwrap());
            assert_eq!(read(item.as_bytes()), expected, "{item}");
        }
    }

    #[test]
    fn the_first_from_the_right_that_is_not_trusted_counts() {
        let trusted: [Network; 2] = ["10.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
        let peer: IpAddr = "10.0.0.9".parse().unwrap();
        for (lines, counted) in [
            (&[&b"192.0.2.1"[..]][..], Some("192.0.2.1")),
            (&[b"192.0.2.1, 192.0.2.2"], Some("192.0.2.2")),
            (&[b"192.0.2.1,192.0.2.2 , 10.1.1.1:80"], Some("192.0.2.2")),
            (&[b"192.0.2.1", b"[::1]:3, 10.1.1.1"], Some("192.0.2.1")),
            (&[b"192.0.2.1", b"192.0.2.2"], Some("192.0.2.2")),
            // What an attacker writes in front of it changes nothing.
            (&[b"unknown, \xff, 192.0.2.2"], Some("192.0.2.2")),
            // Where the nearest cannot be read, nothing left of it is believed.
            (&[b"192.0.2.1, unknown"], Some("10.0.0.9")),
            (&[b"192.0.2.1, \xff, 10.1.1.1"], Some("10.0.0.9")),
            (&[b"10.1.1.1, ::1"], None),
            (&[b" , "], None),
            (&[], None),
        ] {
            let mut fields = Fields::default();
            lines
                .iter()
                .for_each(|line| fields.push("X-Forwarded-For", line));
            let expected = counted.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(
                counted_address(&fields, peer, &trusted),
                expected,
                "{counted:?}"
            );
        }
    }
}
