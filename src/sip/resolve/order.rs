//! In which order records are tried: NAPTR by order and preference (RFC 3403), SRV by priority and
//! weight (RFC 2782), addresses by family (RFC 6724 in short).

use super::{Naptr, Offer, Srv};
use crate::sip::flow::Transport;
use std::net::IpAddr;

/// The services that can be used, most preferred first: transport and SRV name (RFC 3263 §4.1).
pub(super) fn choices(records: &[Naptr], secure: bool, offer: &Offer) -> Vec<(Transport, String)> {
    let mut usable: Vec<(&Naptr, Transport)> = records
        .iter()
        .filter(|record| record.flags.eq_ignore_ascii_case("s"))
        .filter_map(|record| Some((record, transport(&record.service)?)))
        // C-124: for sips only services over TLS; for sip those as well.
        .filter(|&(_, transport)| (transport.is_secure() || !secure) && offer.has(transport))
        .collect();
    usable.sort_by_key(|(record, _)| (record.order, record.preference));
    usable.into_iter().map(|(record, t)| (t, record.replacement.to_string())).collect()
}

/// The transport of a NAPTR service; `None` for those that are not spoken here (C-124: TLS does not
/// run over UDP, so `SIPS+D2U` is none either).
fn transport(service: &str) -> Option<Transport> {
    [
        ("SIP+D2U", Transport::Udp),
        ("SIP+D2T", Transport::Tcp),
        ("SIPS+D2T", Transport::Tls),
        ("SIP+D2W", Transport::Ws),
        ("SIPS+D2W", Transport::Wss),
    ]
    .into_iter()
    .find_map(|(name, transport)| service.eq_ignore_ascii_case(name).then_some(transport))
}

/// Host and port of each record in the order of RFC 2782: by priority, and within one priority
/// drawn by weight. A target of `.` says that the service is not offered.
pub(super) fn targets(records: &[Srv], random: u64) -> Vec<(String, u16)> {
    let mut rest: Vec<&Srv> = records.iter().filter(|r| !r.target.is_empty() && *r.target != *".").collect();
    // Weight 0 stands first within its priority, so that it has its small chance (RFC 2782).
    rest.sort_by_key(|record| (record.priority, record.weight != 0));
    let mut draw = Draw(random);
    let mut ordered = Vec::with_capacity(rest.len());
    while let Some(priority) = rest.first().map(|record| record.priority) {
        let group = rest.iter().take_while(|record| record.priority == priority);
        let sum: u64 = group.clone().map(|record| u64::from(record.weight)).sum();
        let wanted = draw.up_to(sum);
        let mut running = 0;
        let chosen = group
            .enumerate()
            .find(|(_, record)| {
                running += u64::from(record.weight);
                running >= wanted
            })
            .map_or(0, |(at, _)| at);
        let record = rest.remove(chosen);
        let target = record.target.strip_suffix('.').unwrap_or(&record.target);
        ordered.push((target.to_ascii_lowercase(), record.port));
    }
    ordered
}

/// Addresses that can be reached, the families in turn, IPv6 first: a family that does not work
/// costs one attempt, not all (C-128).
pub(super) fn families(
    addresses: &[IpAddr],
    usable: impl Fn(&IpAddr) -> bool,
) -> impl Iterator<Item = IpAddr> {
    let of = |v6: bool| -> Vec<IpAddr> {
        addresses.iter().filter(|ip| ip.is_ipv6() == v6 && usable(ip)).copied().collect()
    };
    let (v6, v4) = (of(true), of(false));
    let longest = v6.len().max(v4.len());
    (0..longest).flat_map(move |n| v6.get(n).copied().into_iter().chain(v4.get(n).copied()))
}

/// Numbers out of one seed (SplitMix64).
struct Draw(u64);

impl Draw {
    /// A number from 0 to `most`, both possible.
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * (u128::from(most) + 1)) >> 64) as u64
    }
}
