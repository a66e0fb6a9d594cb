//! Which addresses are inside: what a program on the outside must not reach through Baton.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the address belongs to this machine, its network, or nobody.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => private_v4(v4),
        IpAddr::V6(v6) => private_v6(v6),
    }
}

fn private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_documentation()
        // This network, carriers' NAT (RFC 6598), protocol assignments, benchmarks, and what is reserved.
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240
}

fn private_v6(v6: Ipv6Addr) -> bool {
    // An IPv4 address in another dress is that IPv4 address: mapped, NAT64 (RFC 6052), 6to4.
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0, 0) if (c, d, e) == (0, 0, 0) && matches!(f, 0 | 0xffff) => private_v4(v4(g, h)),
        (0x64, 0xff9b) => private_v4(v4(g, h)),
        (0x2002, _) => private_v4(v4(b, c)),
        _ => {
            v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                // Site-local of old, and documentation.
                || a & 0xffc0 == 0xfec0
                || (a, b) == (0x2001, 0xdb8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leads inside is refused, in every dress.
    #[test]
    fn inside_and_outside() {
        let inside = [
            "127.0.0.1",
            "127.8.9.10",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.7.7",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.19.0.1",
            "192.0.0.8",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:a00:1::",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in inside {
            assert!(is_private(address.parse().expect("an address")), "{address}");
        }
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::808:808"] {
            assert!(!is_private(address.parse().expect("an address")), "{address}");
        }
    }
}
