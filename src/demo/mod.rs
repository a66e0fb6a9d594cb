//! `baton demo`: transfers to look at, on loopback, through a real server.
//!
//! Three [`phone`]s and a server with sockets of its own. Alice calls Bob, and in the middle of the
//! call her phone sends a REFER, which the server relays: Bob is to call Carol. Then the API orders a
//! call to Bob, and the document of an application sends him to Carol. The [`show`] is over when both
//! transfers have succeeded and everybody has hung up. What crossed the phones' sockets is drawn as a
//! [`ladder`]; what the server recorded is fetched over its HTTP API.

mod http;
mod ladder;
mod phone;
mod server;
mod show;

use self::server::Server;
use self::show::{Show, ShowError};
use crate::sip::time::Time;
use std::io::{self, IsTerminal};
use std::time::Duration;
use thiserror::Error;

/// How long the record may take to become what the messages said.
const RECORD_WAIT: Duration = Duration::from_secs(10);

/// Why the demo did not end well.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The server did not start.
    #[error("the server did not start: {0}")]
    Server(String),
    /// A socket failed.
    #[error("{what}: {error}")]
    Socket {
        /// What was attempted.
        what: &'static str,
        /// The operating system's answer.
        error: io::Error,
    },
    /// The calls did not go as they should.
    #[error(transparent)]
    Show(#[from] ShowError),
    /// The API did not place the call.
    #[error("the API did not take the order: {0}")]
    Order(String),
    /// The API did not show what happened.
    #[error("the Refer record did not come to say that the transfer succeeded; the API's last answer: {0}")]
    Record(String),
}

/// Runs the demo: prints the ladders and the Refer record.
///
/// # Errors
///
/// When a transfer did not complete; what crossed the wire until then has been drawn.
pub fn run() -> Result<(), DemoError> {
    let clock = crate::io::Clock::new();
    let sockets = show::sockets()?;
    let server = Server::start(show::addresses(&sockets)?)?;
    println!("Baton serves SIP on udp {} and HTTP on http://{}.", server.sip, server.http);
    println!("Alice calls Bob through it; then her phone asks Bob's, by REFER, to call Carol.\n");
    let mut show = Show::new(sockets, server.sip, clock)?;
    let outcome = show.relayed();
    draw(&show);
    outcome?;
    let relayed = finished_record(&server, None, || clock.now())?;
    println!("\nThe transfer completed: {}/{}", server.refers(), relayed.sid);

    let carol = show.address_of("Carol");
    let document = format!("<Response><Refer><Sip>{carol}</Sip></Refer></Response>");
    println!("Now the API places a call to Bob, and its document transfers him:\n");
    println!("  POST {} From=+4930100200 To={} Url=…", server.calls(), show.address_of("Bob"));
    println!("  {document}\n");
    let url = http::serve_once(document)?;
    let to = show.address_of("Bob");
    let form = [("From", "+4930100200"), ("To", &*to), ("Url", &*url)];
    let call = server.post(&server.calls(), &form).map_err(|error| match error {
        DemoError::Record(answer) => DemoError::Order(answer),
        other => other,
    })?;
    let call = call.value.get("sid").and_then(|sid| sid.as_str()).unwrap_or_default().to_owned();
    let outcome = show.ordered();
    draw(&show);
    outcome?;
    let record = finished_record(&server, Some(&call), || clock.now())?;
    println!("\nThe transfer completed. GET {}/{}\n", server.refers(), record.sid);
    println!("{}", record.json);
    server.stop();
    Ok(())
}

fn draw(show: &Show) {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    print!("{}", ladder::draw(show.crossings(), colour));
}

struct Record {
    sid: String,
    json: String,
}

/// Reads the list of Refers until the last one, which must be of this call, says how it ended; then
/// the Refer itself.
fn finished_record(server: &Server, call: Option<&str>, now: impl Fn() -> Time) -> Result<Record, DemoError> {
    let give_up = now() + RECORD_WAIT;
    loop {
        let list = server.get(&server.refers())?.value;
        let refer = list.get("refers").and_then(|refers| refers.get(0));
        let field = |name| refer.and_then(|refer| refer.get(name)).and_then(|value| value.as_str());
        if let (Some("202"), Some("200"), Some("in-progress"), Some(sid)) = (
            field("refer_sip_response_code"),
            field("notify_sip_response_code"),
            field("call_status"),
            field("sid"),
        ) && call.is_none_or(|call| field("call_sid") == Some(call))
        {
            let refer = server.get(&format!("{}/{sid}", server.refers()))?;
            return Ok(Record { sid: sid.to_owned(), json: http::pretty(&refer.body) });
        }
        if now() > give_up {
            return Err(DemoError::Record(list.to_string()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    /// [restcomm-refers 2] [restcomm-refers 7] The demo itself: real sockets, a real server, and the record
    /// read over its API, by the list and by its identifier.
    #[test]
    fn the_demo() {
        super::run().unwrap_or_else(|error| panic!("{error}"));
    }
}
