//! One request after the other on one connection.

use alloc::vec;
use alloc::vec::Vec;

use embassy_net::tcp::TcpSocket;
use embassy_net::{Ipv4Address, Stack};

const PORT: u16 = 80;
/// An answer's headers have to fit.
const HEAD_BYTES: usize = 1024;
const HEADERS_MAX: usize = 16;
/// The most bytes of an answer that are on their way.
const RX_BYTES_MAX: usize = 16 * 1024;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// The connection broke.
    Broken,
    /// The answer is no HTTP that we understand, or of another length than wanted.
    Answer,
    /// The answer says another status than 200.
    Status(u16),
}

/// Memory of one connection.
pub(crate) struct Buffers {
    rx: Vec<u8>,
    tx: Vec<u8>,
}

impl Buffers {
    /// Buffers for pages of `size` bytes: a large page comes in pieces.
    pub(crate) fn new(size: usize) -> Self {
        Self { rx: vec![0; (size + 1024).clamp(4096, RX_BYTES_MAX)], tx: vec![0; 512] }
    }
}

/// A connection to one target.
pub(crate) struct Connection<'a> {
    socket: TcpSocket<'a>,
    head: [u8; HEAD_BYTES],
}

impl<'a> Connection<'a> {
    pub(crate) async fn open(
        stack: Stack<'a>,
        buffers: &'a mut Buffers,
        target: Ipv4Address,
    ) -> Result<Self, Failure> {
        let mut socket = TcpSocket::new(stack, &mut buffers.rx, &mut buffers.tx);
        socket.set_nagle_enabled(false);
        socket.connect((target, PORT)).await.map_err(|_| Failure::Connect)?;
        Ok(Self { socket, head: [0; HEAD_BYTES] })
    }

    /// Asks for a page of `size` bytes and reads all of it.
    pub(crate) async fn fetch(&mut self, size: usize) -> Result<(), Failure> {
        // Its port tells it from the fetches of other connections.
        let own = self.socket.local_endpoint().map_or(0, |own| own.port.into());
        let _span = guest_kernel::trace::Span::new("fetch", own);
        let request = alloc::format!("GET /page?size={size} HTTP/1.1\r\nHost: web\r\n\r\n");
        let mut rest = request.as_bytes();
        while !rest.is_empty() {
            let written = self.socket.write(rest).await.map_err(|_| Failure::Broken)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        let (status, mut body) = self.read_head().await?;
        if status != 200 {
            return Err(Failure::Status(status));
        }
        while body < size {
            let left = size - body;
            let taken = self
                .socket
                .read_with(|bytes| {
                    let taken = bytes.len().min(left);
                    (taken, taken)
                })
                .await
                .map_err(|_| Failure::Broken)?;
            if taken == 0 {
                return Err(Failure::Broken);
            }
            body += taken;
        }
        if body == size { Ok(()) } else { Err(Failure::Answer) }
    }

    /// Reads up to the end of the headers; returns the status and the bytes of the body that came with them.
    async fn read_head(&mut self) -> Result<(u16, usize), Failure> {
        let mut used = 0;
        loop {
            let free = self.head.get_mut(used..).filter(|free| !free.is_empty()).ok_or(Failure::Answer)?;
            let read = self.socket.read(free).await.map_err(|_| Failure::Broken)?;
            if read == 0 {
                return Err(Failure::Broken);
            }
            used += read;
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut answer = httparse::Response::new(&mut headers);
            match answer.parse(self.head.get(..used).unwrap_or_default()) {
                Ok(httparse::Status::Complete(head)) => {
                    return Ok((answer.code.unwrap_or(0), used - head));
                }
                Ok(httparse::Status::Partial) => {}
                Err(_) => return Err(Failure::Answer),
            }
        }
    }

    /// Ends the connection; the peer learns of it at once.
    pub(crate) async fn close(mut self) {
        self.socket.abort();
        // The reset is sent; whether it arrives is the peer's own affair.
        let _ = self.socket.flush().await;
    }
}
