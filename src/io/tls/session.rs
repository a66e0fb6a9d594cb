//! The TLS layer of one connection, over a socket that never blocks.

use super::TlsContext;
use rustls::server::Acceptor;
use rustls::{ClientConnection, Connection};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

/// One connection's TLS.
pub(crate) enum Session {
    /// A client has connected and not yet said which name it wants.
    Accepting(Box<Accepting>),
    /// The configuration is chosen; the handshake may still be under way.
    Chosen(Box<Chosen>),
    /// It failed; nothing more can be read or written.
    Failed,
}

pub(crate) struct Chosen {
    session: Connection,
    profile: usize,
}

impl Chosen {
    fn new(mut session: Connection, profile: usize) -> Chosen {
        // The connection bounds what it gives; a limit here would break one whose peer is slow.
        session.set_buffer_limit(None);
        Chosen { session, profile }
    }
}

pub(crate) struct Accepting {
    acceptor: Acceptor,
    context: Arc<TlsContext>,
    profiles: Arc<[Box<str>]>,
}

impl Session {
    /// The side that was connected to.
    pub(crate) fn server(context: Arc<TlsContext>, profiles: Arc<[Box<str>]>) -> Session {
        Session::Accepting(Box::new(Accepting { acceptor: Acceptor::default(), context, profiles }))
    }

    /// The side that connects and wants the peer to be `domain`, or to be known by its address.
    pub(crate) fn client(
        context: &TlsContext,
        profiles: &[Box<str>],
        domain: Option<&str>,
        address: IpAddr,
    ) -> io::Result<Session> {
        let profile = context.first(profiles).ok_or(io::ErrorKind::Unsupported)?;
        let name = super::server_name(domain, address).ok_or(io::ErrorKind::InvalidInput)?;
        let session = ClientConnection::new(Arc::clone(&profile.client), name).map_err(broken)?;
        Ok(Session::Chosen(Box::new(Chosen::new(Connection::Client(session), profile.place))))
    }

    /// The place of the profile in the configuration, once it is chosen.
    pub(crate) fn profile(&self) -> Option<usize> {
        match self {
            Session::Chosen(chosen) => Some(chosen.profile),
            Session::Accepting(_) | Session::Failed => None,
        }
    }

    /// Whether application data cannot flow yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Session::Accepting(_) => true,
            Session::Chosen(chosen) => chosen.session.is_handshaking(),
            Session::Failed => false,
        }
    }

    /// Reads plaintext like a socket: 0 is the end, `WouldBlock` means that the peer must send more.
    pub(crate) fn read(&mut self, socket: &mut (impl Read + Write), into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self {
                Session::Accepting(accepting) => {
                    if accepting.acceptor.read_tls(socket)? == 0 {
                        return Ok(0);
                    }
                    match accepting.choose(socket) {
                        Ok(None) => {}
                        Ok(Some(chosen)) => {
                            *self = Session::Chosen(Box::new(chosen));
                            self.process(socket)?;
                        }
                        Err(error) => {
                            *self = Session::Failed;
                            return Err(error);
                        }
                    }
                }
                Session::Chosen(chosen) => {
                    let session = &mut chosen.session;
                    match session.reader().read(into) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        // A peer that just closes its socket has ended the stream as well: SIP
                        // messages say themselves where they end.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                        other => return other,
                    }
                    if session.read_tls(socket)? == 0 {
                        return Ok(0);
                    }
                    self.process(socket)?;
                }
                Session::Failed => return Ok(0),
            }
        }
    }

    /// Encrypts a whole message; [`Session::flush`] sends it.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Session::Chosen(chosen) => chosen.session.writer().write_all(bytes),
            Session::Accepting(_) | Session::Failed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Sends what is encrypted; `WouldBlock` when the socket takes no more now.
    pub(crate) fn flush(&mut self, socket: &mut impl Write) -> io::Result<()> {
        if let Session::Chosen(chosen) = self {
            while chosen.session.wants_write() {
                chosen.session.write_tls(socket)?;
            }
        }
        Ok(())
    }

    /// Tells the peer, as far as the socket takes it, that nothing more will come.
    pub(crate) fn close(&mut self, socket: &mut impl Write) {
        if let Session::Chosen(chosen) = self {
            chosen.session.send_close_notify();
            let _ = self.flush(socket);
        }
    }

    fn process(&mut self, socket: &mut impl Write) -> io::Result<()> {
        let Session::Chosen(chosen) = self else { return Ok(()) };
        match chosen.session.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => {
                // The alert says why, if the socket takes it.
                let _ = self.flush(socket);
                *self = Session::Failed;
                Err(broken(error))
            }
        }
    }
}

impl Accepting {
    /// Takes the client's first message, once it is complete, and chooses the profile by it.
    fn choose(&mut self, socket: &mut impl Write) -> io::Result<Option<Chosen>> {
        let accepted = match self.acceptor.accept() {
            Ok(None) => return Ok(None),
            Ok(Some(accepted)) => accepted,
            Err((error, mut alert)) => {
                let _ = alert.write_all(socket);
                return Err(broken(error));
            }
        };
        let hello = accepted.client_hello();
        let profile =
            self.context.choose(&self.profiles, hello.server_name()).ok_or(io::ErrorKind::Unsupported)?;
        match accepted.into_connection(Arc::clone(&profile.server)) {
            Ok(session) => Ok(Some(Chosen::new(Connection::Server(session), profile.place))),
            Err((error, mut alert)) => {
                let _ = alert.write_all(socket);
                Err(broken(error))
            }
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
