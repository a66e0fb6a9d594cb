//! TLS: whom Baton believes, and who must prove what.

use crate::echo::{PATIENCE, Server, go_to, message, server_with};
use baton::io::{ClientAuth, StreamOptions, TlsContext, TlsProfile};
use baton::shard::Input;
use baton::sip::flow::Transport;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const TLS: &[(Transport, &str)] = &[(Transport::Tls, "127.0.0.1:0")];

/// An authority, and a directory for the files that it issues.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let dir = std::env::temp_dir().join(format!("baton-wire-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
        Authority { issuer, dir }
    }

    fn issue(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub(crate) fn profile(&self, name: &str, domains: &[&str]) -> TlsProfile {
        let (certificate, key) = self.issue(domains);
        let file = |suffix: &str| self.dir.join(format!("{name}.{suffix}"));
        std::fs::write(file("crt"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        TlsProfile {
            name: name.into(),
            certificate: file("crt"),
            key: file("key"),
            ca: Some(self.dir.join("ca.pem")),
            client_auth: ClientAuth::None,
            verify_servers: true,
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    /// A phone's configuration, with a certificate of its own if `names` are given.
    pub(crate) fn client(&self, names: &[&str]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        if names.is_empty() {
            return config.with_no_client_auth();
        }
        let (chain, key) = self.identity(names);
        config.with_client_auth_cert(chain, key).unwrap()
    }

    fn server(&self, names: &[&str]) -> ServerConfig {
        let (chain, key) = self.identity(names);
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }

    fn identity(&self, names: &[&str]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.issue(names);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], key)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn serve(profiles: &[TlsProfile]) -> Server {
    server_with(2, TLS, |config| config.tls = Arc::new(TlsContext::load(profiles).unwrap()))
}

type Phone = StreamOwned<ClientConnection, TcpStream>;

fn phone(server: &Server, config: ClientConfig, name: &str) -> Phone {
    let stream = TcpStream::connect(server.addr(0)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream)
}

fn echo(phone: &mut Phone, n: u32) -> std::io::Result<()> {
    let sent = message(&format!("tls-{n}"), n, 0);
    phone.write_all(sent.as_bytes())?;
    let mut got = vec![0; sent.len()];
    phone.read_exact(&mut got)?;
    assert_eq!(String::from_utf8(got).unwrap(), sent);
    Ok(())
}

fn end_entity(phone: &Phone) -> CertificateDer<'static> {
    phone.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// [C-042, C-057] Messages cross TLS, large ones too, whichever shard owns them.
#[test]
fn messages_cross_tls() {
    let ca = Authority::new("cross");
    let server = serve(&[ca.profile("default", &["sip.example"])]);
    let mut phone = phone(&server, ca.client(&[]), "sip.example");
    for n in 0..20 {
        echo(&mut phone, n).unwrap();
    }
    let large = message("large", 1, 65_000);
    phone.write_all(large.as_bytes()).unwrap();
    let mut got = vec![0; large.len()];
    phone.read_exact(&mut got).unwrap();
    assert_eq!(got, large.as_bytes());
}

/// SNI chooses among a listener's profiles; the first serves those who name nothing known.
#[test]
fn the_server_name_chooses_the_profile() {
    let ca = Authority::new("sni");
    let profiles =
        [ca.profile("default", &["one.example", "127.0.0.1"]), ca.profile("other", &["two.example"])];
    let server = serve(&profiles);
    let mut seen = Vec::new();
    for name in ["one.example", "two.example", "127.0.0.1"] {
        let mut phone = phone(&server, ca.client(&[]), name);
        echo(&mut phone, 1).unwrap();
        seen.push(end_entity(&phone));
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

/// [C-058] Where a client certificate is required, one of the right authority is needed.
#[test]
fn mutual_tls_wants_the_right_certificate() {
    let (ca, stranger) = (Authority::new("mutual"), Authority::new("stranger"));
    let profile = TlsProfile { client_auth: ClientAuth::Require, ..ca.profile("default", &["sip.example"]) };
    let server = serve(&[profile]);
    echo(&mut phone(&server, ca.client(&["peer.example"]), "sip.example"), 1).unwrap();
    assert!(echo(&mut phone(&server, ca.client(&[]), "sip.example"), 2).is_err());
    let mut config = stranger.client(&["peer.example"]);
    // The stranger believes the server; the server must not believe the stranger.
    let (chain, key) = stranger.identity(&["peer.example"]);
    config = ClientConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(ca.roots())
        .with_client_auth_cert(chain, key)
        .unwrap();
    assert!(echo(&mut phone(&server, config, "sip.example"), 3).is_err());
    assert_eq!(server.count("messages"), 1);
}

/// A TLS peer that takes what it is sent, on a thread of its own; answers what it read, or nothing.
fn callee(config: ServerConfig) -> (SocketAddr, std::thread::JoinHandle<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let mut buffer = [0; 4_096];
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => Some(String::from_utf8(buffer[..n].to_vec()).unwrap()),
            _ => None,
        }
    });
    (addr, thread)
}

/// [C-057] The name that was wanted must stand in the server's certificate; a failed handshake
/// fails the message (C-064).
#[test]
fn a_server_must_bear_the_name_that_was_wanted() {
    let (ca, stranger) = (Authority::new("name"), Authority::new("name-stranger"));
    let server = serve(&[ca.profile("default", &["sip.example"])]);
    let mut phone = phone(&server, ca.client(&[]), "sip.example");
    let cases: [(ServerConfig, &str, bool); 5] = [
        (ca.server(&["carrier.example"]), "carrier.example", true),
        (ca.server(&["other.example"]), "carrier.example", false),
        (stranger.server(&["carrier.example"]), "carrier.example", false),
        (ca.server(&["127.0.0.1"]), "-", true),
        (ca.server(&["carrier.example"]), "-", false),
    ];
    for (n, (config, domain, good)) in cases.into_iter().enumerate() {
        let (addr, thread) = callee(config);
        let order = go_to("tls", addr, domain, &format!("name-{n}"));
        phone.write_all(order.as_bytes()).unwrap();
        let got = thread.join().unwrap();
        assert_eq!(got, good.then_some(order), "case {n}");
        if !good {
            while !matches!(server.next().1, Input::SendFailed { .. }) {}
        }
    }
    assert_eq!(server.count("handshake_failed"), 3);
}

/// [C-066] What came together while the peer was not ready leaves whole and in its order, however much it is.
#[test]
fn a_backlog_leaves_once_the_peer_is_ready() {
    let ca = Authority::new("backlog");
    let tls = Arc::new(TlsContext::load(&[ca.profile("default", &["sip.example"])]).unwrap());
    let server = server_with(2, TLS, |config| {
        config.tls = tls;
        config.streams = StreamOptions { handshake: PATIENCE, ..StreamOptions::default() };
    });
    let mut phone = phone(&server, ca.client(&[]), "sip.example");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let orders = go_to("tls", addr, "carrier.example", "backlog").repeat(800);
    phone.write_all(orders.as_bytes()).unwrap();
    // The same shard's: it has had the orders before it.
    let last = message("backlog", 2, 0);
    phone.write_all(last.as_bytes()).unwrap();
    phone.read_exact(&mut vec![0; last.len()]).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let session = ServerConnection::new(Arc::new(ca.server(&["carrier.example"]))).unwrap();
    let mut got = vec![0; orders.len()];
    StreamOwned::new(session, stream).read_exact(&mut got).unwrap();
    assert!(got == orders.as_bytes());
}

/// [C-214] A handshake that does not go on times out.
#[test]
fn a_half_open_handshake_times_out() {
    let ca = Authority::new("half");
    let tls = Arc::new(TlsContext::load(&[ca.profile("default", &["sip.example"])]).unwrap());
    let server = server_with(1, TLS, |config| {
        config.tls = tls;
        config.streams = StreamOptions { handshake: Duration::from_millis(300), ..StreamOptions::default() };
    });
    let mut stream = TcpStream::connect(server.addr(0)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[22, 3, 1]).unwrap();
    let mut buffer = [0; 64];
    assert!(matches!(stream.read(&mut buffer), Ok(0) | Err(_)));
    assert_eq!(server.count("handshake_failed"), 1);
}

/// [C-059] New certificates serve new connections; old connections live on.
#[test]
fn certificates_are_exchanged_without_dropping_connections() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let server = serve(&[first.profile("default", &["sip.example"])]);
    let mut old = phone(&server, first.client(&[]), "sip.example");
    echo(&mut old, 1).unwrap();
    let context = TlsContext::load(&[second.profile("default", &["sip.example"])]).unwrap();
    server.running.tls(&Arc::new(context)).unwrap();
    // Orders and connections come by different ways: the first connections may still meet the old.
    let mut tries = 0;
    while echo(&mut phone(&server, second.client(&[]), "sip.example"), 2).is_err() {
        tries += 1;
        assert!(tries < 100, "the new certificate is never shown");
    }
    echo(&mut old, 3).unwrap();
}

/// A profile that cannot be used is refused with its file named.
#[test]
fn unusable_profiles_are_refused() {
    let ca = Authority::new("broken");
    let good = ca.profile("default", &["sip.example"]);
    let other = ca.profile("other", &["sip.example"]);
    let missing = TlsProfile { certificate: Path::new("/nowhere/x.crt").into(), ..good.clone() };
    let mixed = TlsProfile { key: other.key, ..good.clone() };
    let no_ca = TlsProfile { ca: None, client_auth: ClientAuth::Require, ..good };
    for (profile, says) in [(missing, "/nowhere/x.crt"), (mixed, "other.key"), (no_ca, "`ca`")] {
        let error = TlsContext::load(&[profile]).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("\"default\""), "{error}");
    }
}
