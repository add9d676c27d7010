//! A TCP socket whose flush does not wait.
//! `embassy-net` flushes until the peer has acknowledged everything, and the HTTP server flushes between headers and
//! body: each answer would wait for the peer's delayed acknowledgement. Data goes out without being asked to.

use alloc::rc::Rc;
use core::cell::Cell;

use embassy_net::tcp::{Error, TcpReader, TcpSocket, TcpWriter};
use picoserve::io::{BaseWrite, Socket, Write, embedded_io_async::ErrorType};
use picoserve::mem::BorrowedCursor;
use picoserve::{EmbassyRuntime, Timeouts, Timer};

/// Ends its connection when nothing right can follow: an answer whose length was announced and that cannot be completed.
#[derive(Clone, Debug, Default)]
pub struct Hangup(Rc<Cell<bool>>);

impl Hangup {
    /// Ends the connection at its next write or flush, which is refused.
    pub fn now(&self) {
        self.0.set(true);
    }

    pub(crate) fn reset(&self) {
        self.0.set(false);
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.get() { Err(Error::ConnectionReset) } else { Ok(()) }
    }
}

/// The socket.
pub(crate) struct Eager<'a> {
    socket: TcpSocket<'a>,
    hangup: &'a Hangup,
}

impl<'a> Eager<'a> {
    pub(crate) const fn new(socket: TcpSocket<'a>, hangup: &'a Hangup) -> Self {
        Self { socket, hangup }
    }
}

/// Its write half.
pub(crate) struct Writer<'a> {
    writer: TcpWriter<'a>,
    hangup: &'a Hangup,
}

impl ErrorType for Writer<'_> {
    type Error = Error;
}

impl BaseWrite for Writer<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.hangup.check()?;
        self.writer.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.hangup.check()
    }
}

impl Write for Writer<'_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(&mut self, fill: F) -> Result<R, Error> {
        self.hangup.check()?;
        Write::write_with(&mut self.writer, fill).await
    }
}

impl<'s> Socket<EmbassyRuntime> for Eager<'s> {
    type Error = Error;
    type ReadHalf<'a>
        = TcpReader<'a>
    where
        's: 'a;
    type WriteHalf<'a>
        = Writer<'a>
    where
        's: 'a;

    fn split(&mut self) -> (TcpReader<'_>, Writer<'_>) {
        let (reader, writer) = self.socket.split();
        (reader, Writer { writer, hangup: self.hangup })
    }

    async fn abort<T: Timer<EmbassyRuntime>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Error>> {
        Socket::abort(self.socket, timeouts, timer).await
    }

    async fn shutdown<T: Timer<EmbassyRuntime>>(
        self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Error>> {
        Socket::shutdown(self.socket, timeouts, timer).await
    }
}
