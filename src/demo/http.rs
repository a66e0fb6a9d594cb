//! One HTTP request to the demo's server, and its JSON answer.

use super::DemoError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server on this machine that does not answer in this time does not answer.
const WAIT: Duration = Duration::from_secs(2);

/// GETs `path` with Basic authentication.
pub fn get(server: SocketAddr, path: &str, user: &str, password: &str) -> Result<Value, DemoError> {
    let failed = |error| DemoError::Socket { what: "asking the API", error };
    let mut stream = TcpStream::connect_timeout(&server, WAIT).map_err(failed)?;
    stream.set_read_timeout(Some(WAIT)).map_err(failed)?;
    let credentials = STANDARD.encode(format!("{user}:{password}"));
    // HTTP/1.0, so that the answer is neither chunked nor kept open.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {server}\r\nAuthorization: Basic {credentials}\r\n\
         Accept: application/json\r\n\r\n"
    )
    .map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match serde_json::from_str(body) {
        Ok(value) if status == "200" => Ok(value),
        Ok(_) | Err(_) => Err(DemoError::Record(format!("{status} {body}"))),
    }
}
