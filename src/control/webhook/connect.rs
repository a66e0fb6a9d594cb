//! Connections to those who are asked: name, address, permission, TCP, TLS.

use super::Boxed;
use super::address::is_private;
use crate::io::{DnsOptions, dns};
use axum::http::Uri;
use hickory_resolver::TokioResolver;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

/// How long one address of several is tried.
const ONE_ADDRESS: Duration = Duration::from_secs(2);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Every address is inside.
    #[error("the destination is inside")]
    Private,
    /// The name stands for no address.
    #[error("the name cannot be resolved")]
    Unresolved,
    /// The connection or its handshake failed.
    #[error("no connection: {0}")]
    Failed(#[from] io::Error),
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector(Arc<Inner>);

struct Inner {
    resolver: Option<TokioResolver>,
    /// Without it no https server can be reached.
    tls: Option<TlsConnector>,
    allowed: Allowed,
}

/// Says which addresses may be reached.
pub(super) type Allowed = fn(IpAddr) -> bool;

/// All of them.
pub(super) fn any(_: IpAddr) -> bool {
    true
}

/// Those outside.
pub(super) fn outside(address: IpAddr) -> bool {
    !is_private(address)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// To be made on the runtime it is used on.
    pub(super) fn new(dns: &DnsOptions, allowed: Allowed) -> Connector {
        let resolver = dns::resolver(dns);
        if let Err(error) = &resolver {
            tracing::warn!(event = "webhook.dns", %error, "names in webhooks cannot be resolved");
        }
        let tls = tls().map(|config| TlsConnector::from(Arc::new(config)));
        if let Err(error) = &tls {
            tracing::warn!(event = "webhook.tls", %error, "https webhooks cannot be sent");
        }
        Connector(Arc::new(Inner { resolver: resolver.ok(), tls: tls.ok(), allowed }))
    }
}

/// Servers are verified by the operating system's authorities.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = Boxed<'static, Result<TokioIo<Wire>, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Inner {
    async fn connect(&self, uri: &Uri) -> Result<Wire, ConnectError> {
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or("");
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = self.addresses(host).await?;
        let stream = first(addresses, port).await?;
        let _ = stream.set_nodelay(true);
        if !secure {
            return Ok(Wire::Plain(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Unresolved)?;
        let tls = self.tls.as_ref().ok_or(ConnectError::Unresolved)?;
        Ok(Wire::Tls(Box::new(tls.connect(name, stream).await?)))
    }

    /// The addresses that may be reached. It is the address that is looked at, not the name: a name
    /// outside may stand for an address inside.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let mut addresses: Vec<IpAddr> = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                let resolver = self.resolver.as_ref().ok_or(ConnectError::Unresolved)?;
                let found = resolver.lookup_ip(host).await.map_err(|_| ConnectError::Unresolved)?;
                found.iter().collect()
            }
        };
        let any = !addresses.is_empty();
        addresses.retain(|address| (self.allowed)(*address));
        match addresses.is_empty() {
            true if any => Err(ConnectError::Private),
            true => Err(ConnectError::Unresolved),
            false => Ok(addresses),
        }
    }
}

async fn first(addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream, io::Error> {
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for address in addresses {
        let connecting = TcpStream::connect(SocketAddr::new(address, port));
        match tokio::time::timeout(ONE_ADDRESS, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}

/// A connection, with or without TLS.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
