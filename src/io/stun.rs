//! STUN binding requests on a SIP socket (C-056): a phone behind a NAT keeps its binding open and
//! learns its address (RFC 5626 §3.5.2, §8).
//!
//! SIP begins with a letter and STUN with two zero bits, so one byte tells them apart.

use bytes::{BufMut, Bytes, BytesMut};
use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_RESPONSE: u16 = 0x0101;
const COOKIE: u32 = 0x2112_a442;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Attributes below this must be understood (RFC 8489 §14).
const OPTIONAL: u16 = 0x8000;

/// Whether a datagram belongs to STUN, not to SIP.
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0..=3)) && number(datagram, 4) == Some(COOKIE)
}

/// The answer to a binding request. What is no such request, or demands more than an address, gets
/// none: the answer is never much larger than the question (C-213).
pub(super) fn answer(request: &[u8], from: SocketAddr) -> Option<Bytes> {
    let transaction = request.get(4..HEADER)?;
    let length = usize::from(short(request, 2)?);
    let attributes = request.get(HEADER..)?;
    if short(request, 0)? != BINDING_REQUEST || attributes.len() != length || demands(attributes) {
        return None;
    }
    let mut out = BytesMut::with_capacity(HEADER + 24);
    out.put_u16(BINDING_RESPONSE);
    out.put_u16(if from.is_ipv4() { 12 } else { 24 });
    out.put_slice(transaction);
    out.put_u16(XOR_MAPPED_ADDRESS);
    out.put_u16(if from.is_ipv4() { 8 } else { 20 });
    out.put_u16(if from.is_ipv4() { 1 } else { 2 });
    out.put_u16(from.port() ^ (COOKIE >> 16) as u16);
    match from.ip() {
        IpAddr::V4(ip) => out.put_u32(u32::from(ip) ^ COOKIE),
        IpAddr::V6(ip) => {
            // The address is masked with cookie and transaction id, as they stand in the header.
            let mask = transaction.iter();
            ip.octets().iter().zip(mask).for_each(|(octet, mask)| out.put_u8(octet ^ mask));
        }
    }
    Some(out.freeze())
}

/// Whether any attribute must be understood; malformed ones count as such.
fn demands(mut attributes: &[u8]) -> bool {
    while !attributes.is_empty() {
        let (Some(kind), Some(length)) = (short(attributes, 0), short(attributes, 2)) else { return true };
        if kind < OPTIONAL {
            return true;
        }
        let whole = 4 + usize::from(length).next_multiple_of(4);
        let Some(rest) = attributes.get(whole..) else { return true };
        attributes = rest;
    }
    false
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut request = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
        request.extend(ID);
        request.extend(attributes);
        request
    }

    /// [C-056] The sample values of RFC 5769 §2.2 and §2.3.
    #[test]
    fn the_address_is_told() {
        let sample = |from: &str| answer(&request(&[]), from.parse().unwrap()).unwrap();
        assert_eq!(
            &sample("192.0.2.1:32853")[20..],
            [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]
        );
        assert_eq!(
            &sample("[2001:db8:1234:5678:11:2233:4455:6677]:32853")[20..],
            [
                0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
                0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9
            ]
        );
    }

    #[test]
    fn only_plain_binding_requests_are_answered() {
        let from = "192.0.2.1:1".parse().unwrap();
        let software = [0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
        assert!(answer(&request(&software), from).is_some());
        let username = [0, 6, 0, 0];
        assert!(answer(&request(&username), from).is_none());
        assert!(answer(&request(&software[..6]), from).is_none());
        let mut indication = request(&[]);
        indication[1] = 0x11;
        assert!(answer(&indication, from).is_none());
        for n in 0..20 {
            assert!(answer(&request(&[])[..n], from).is_none());
        }
    }

    #[test]
    fn sip_is_not_taken_for_stun() {
        assert!(is_stun(&request(&[])));
        assert!(!is_stun(b"OPTIONS sip:a@b SIP/2.0\r\n"));
        assert!(!is_stun(b"\0\0\0\0"));
        assert!(!is_stun(b""));
    }
}
