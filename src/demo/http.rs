//! HTTP requests to the demo's server with their JSON answers, and the document of the demo's application.

use super::DemoError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A server on this machine that does not answer in this time does not answer.
const WAIT: Duration = Duration::from_secs(10);

/// What the API answered.
pub struct Answer {
    /// To be looked into.
    pub value: Value,
    /// To be shown, as it came.
    pub body: String,
}

/// GETs `path` with Basic authentication.
pub fn get(server: SocketAddr, path: &str, user: &str, password: &str) -> Result<Answer, DemoError> {
    ask(server, "GET", path, user, password, "")
}

/// POSTs a form.
pub fn post(
    server: SocketAddr,
    path: &str,
    user: &str,
    password: &str,
    form: &[(&str, &str)],
) -> Result<Answer, DemoError> {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    ask(server, "POST", path, user, password, &form)
}

fn ask(
    server: SocketAddr,
    method: &str,
    path: &str,
    user: &str,
    password: &str,
    form: &str,
) -> Result<Answer, DemoError> {
    let failed = |error| DemoError::Socket { what: "asking the API", error };
    let mut stream = TcpStream::connect_timeout(&server, WAIT).map_err(failed)?;
    stream.set_read_timeout(Some(WAIT)).map_err(failed)?;
    let credentials = STANDARD.encode(format!("{user}:{password}"));
    // HTTP/1.0, so that the answer is neither chunked nor kept open.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {server}\r\nAuthorization: Basic {credentials}\r\n\
         Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match serde_json::from_str(body) {
        Ok(value) if status == "200" => Ok(Answer { value, body: body.to_owned() }),
        Ok(_) | Err(_) => Err(DemoError::Record(format!("{status} {body}"))),
    }
}

/// Serves a document to whoever asks first; its URL.
pub fn serve_once(document: String) -> Result<String, DemoError> {
    let failed = |error| DemoError::Socket { what: "serving the application's document", error };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let url = format!("http://{}/", listener.local_addr().map_err(failed)?);
    // It ends with the process when nobody asks; then the show has failed, and says so.
    std::thread::spawn(move || listener.accept().and_then(|(stream, _)| answer(stream, &document)));
    Ok(url)
}

fn answer(stream: TcpStream, document: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(WAIT))?;
    let mut reader = BufReader::new(&stream);
    let (mut line, mut length) = (String::new(), 0);
    // The request must have been read, body and all, or closing would reset the connection.
    while reader.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("Content-Length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    write!(
        &stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{document}",
        document.len()
    )
}

/// JSON with a line for each member, in the order in which they came.
pub fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = json.chars().filter(|c| !c.is_control()).peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            ' ' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if_eq(&' ').is_some() {}
                if let Some(end) = chars.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                out.push(c);
                quoted = true;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order() {
        let shown = pretty(r#"{"sid":"RF1","a":{"z":[1, 2],"b":[],"c":{ }},"t":"x: {\"y\",\\","n":null}"#);
        let wanted = [
            "{",
            r#"  "sid": "RF1","#,
            r#"  "a": {"#,
            r#"    "z": ["#,
            "      1,",
            "      2",
            "    ],",
            r#"    "b": [],"#,
            r#"    "c": {}"#,
            "  },",
            r#"  "t": "x: {\"y\",\\","#,
            r#"  "n": null"#,
            "}",
        ];
        assert_eq!(shown, wanted.join("\n"));
        assert_eq!(pretty(&shown), shown);
    }
}
