//! message/sipfrag (RFC 3420): the status line that a NOTIFY of a REFER carries.

use super::start_line;

/// The status and reason phrase a sipfrag body begins with; `None` when it begins with no status
/// line, or with one of a class that does not exist (C-216).
pub fn parse(body: &[u8]) -> Option<(u16, &[u8])> {
    let lead = body.iter().take_while(|b| matches!(b, b'\r' | b'\n' | b' ' | b'\t')).count();
    let body = body.get(lead..)?;
    let end = memchr::memchr2(b'\r', b'\n', body).unwrap_or(body.len());
    let line = body.get(..end)?;
    let (reason, (version, status)) = start_line::status_line(line).ok()?;
    let known = version.eq_ignore_ascii_case(b"SIP/2.0") && (100..700).contains(&status);
    known.then_some((status, reason))
}

/// Appends a sipfrag body of a status line only (RFC 3515 §2.4.5).
pub fn write(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"SIP/2.0 ");
    super::write::put_number(out, u32::from(status));
    out.push(b' ');
    super::write::put_clean(out, reason);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_there_and_back() {
        assert_eq!(parse(b"SIP/2.0 200 OK\r\nTo: x\r\n"), Some((200, &b"OK"[..])));
        assert_eq!(parse(b"SIP/2.0 100 Trying"), Some((100, &b"Trying"[..])));
        assert_eq!(parse(b"\r\nSIP/2.0 486\r\n"), Some((486, &b""[..])));
        assert_eq!(parse(b"sip/2.0 503 Service Unavailable\n"), Some((503, &b"Service Unavailable"[..])));
        for bad in
            [&b""[..], b"INVITE sip:a SIP/2.0", b"SIP/2.0 999 x", b"SIP/1.0 200 OK", b"SIP/2.0 2000 OK"]
        {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        let mut out = Vec::new();
        write(&mut out, 487, b"Request\r\nTerminated");
        assert_eq!(parse(&out), Some((487, &b"Request  Terminated"[..])));
    }
}
