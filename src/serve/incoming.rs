//! Connections of the doors that speak HTTP: accepted, under TLS where there is a certificate.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// Connections that are accepted and wait to be answered.
const WAITING: usize = 64;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, and who is at its other end.
pub(super) struct Wire {
    io: Box<dyn Io>,
    peer: SocketAddr,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Accepts connections for as long as the receiver is there.
pub(super) fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) -> mpsc::Receiver<Wire> {
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = send.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((tcp, peer)) = accepted else {
                // Out of descriptors: somebody has to leave first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let _without = tcp.set_nodelay(true);
            let (tls, send) = (tls.clone(), send.clone());
            // A handshake that stalls must not keep the others waiting.
            tokio::spawn(async move {
                let io: Box<dyn Io> = match tls {
                    None => Box::new(tcp),
                    Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(tcp)).await {
                        Ok(Ok(stream)) => Box::new(stream),
                        _ => return,
                    },
                };
                let _closed = send.send(Wire { io, peer }).await;
            });
        }
    });
    receive
}

/// The connections as axum takes them.
pub(super) struct HttpListener {
    wires: mpsc::Receiver<Wire>,
    address: SocketAddr,
}

impl HttpListener {
    pub(super) fn new(wires: mpsc::Receiver<Wire>, address: SocketAddr) -> Self {
        Self { wires, address }
    }
}

impl axum::serve::Listener for HttpListener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        match self.wires.recv().await {
            Some(wire) => {
                let peer = wire.peer;
                (wire, peer)
            }
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, HttpListener>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, HttpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl tonic::transport::server::Connected for Wire {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.peer)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
