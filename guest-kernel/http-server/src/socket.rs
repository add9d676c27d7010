//! A TCP socket whose flush does not wait.
//! `embassy-net` flushes until the peer has acknowledged everything, and the HTTP server flushes between headers and
//! body: each answer would wait for the peer's delayed acknowledgement. Data goes out without being asked to.
//! And whose request is refused hears of it: the HTTP server aborts the connection then, and an abort overtakes the answer.

use alloc::rc::Rc;
use core::cell::Cell;

use embassy_net::tcp::{Error, TcpReader, TcpSocket, TcpWriter};
use embassy_time::with_timeout;
use picoserve::io::{BaseWrite, Read, Socket, Write, embedded_io_async::ErrorType};
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

/// The answer to a request whose head does not fit into the server's memory for it.
const HEAD_TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// How far the request has come that is being served.
#[derive(Debug, Default)]
struct Course {
    /// There was no room for more of its head.
    too_large: Cell<bool>,
    /// Something was answered since the last of it was read.
    answered: Cell<bool>,
}

/// The socket.
pub(crate) struct Eager<'a> {
    socket: TcpSocket<'a>,
    hangup: &'a Hangup,
    course: Course,
}

impl<'a> Eager<'a> {
    pub(crate) fn new(socket: TcpSocket<'a>, hangup: &'a Hangup) -> Self {
        Self { socket, hangup, course: Course::default() }
    }
}

/// Its read half.
pub(crate) struct Reader<'a> {
    reader: TcpReader<'a>,
    course: &'a Course,
}

impl ErrorType for Reader<'_> {
    type Error = Error;
}

impl Read for Reader<'_> {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        self.course.too_large.set(into.is_empty());
        self.course.answered.set(false);
        self.reader.read(into).await
    }
}

/// Its write half.
pub(crate) struct Writer<'a> {
    writer: TcpWriter<'a>,
    hangup: &'a Hangup,
    course: &'a Course,
}

impl Writer<'_> {
    /// Refuses what the server would say to half a head: there is a better answer.
    fn check(&self) -> Result<(), Error> {
        if self.course.too_large.get() { Err(Error::ConnectionReset) } else { self.hangup.check() }
    }
}

impl ErrorType for Writer<'_> {
    type Error = Error;
}

impl BaseWrite for Writer<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.check()?;
        self.writer.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.check()?;
        self.course.answered.set(true);
        Ok(())
    }
}

impl Write for Writer<'_> {
    async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(&mut self, fill: F) -> Result<R, Error> {
        self.check()?;
        Write::write_with(&mut self.writer, fill).await
    }
}

impl<'s> Socket<EmbassyRuntime> for Eager<'s> {
    type Error = Error;
    type ReadHalf<'a>
        = Reader<'a>
    where
        's: 'a;
    type WriteHalf<'a>
        = Writer<'a>
    where
        's: 'a;

    fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let Self { socket, hangup, course } = self;
        let (reader, writer) = socket.split();
        (Reader { reader, course }, Writer { writer, hangup, course })
    }

    async fn abort<T: Timer<EmbassyRuntime>>(
        mut self,
        timeouts: &Timeouts,
        timer: &T,
    ) -> Result<(), picoserve::Error<Error>> {
        let refused = if self.course.too_large.get() {
            with_timeout(timeouts.write, self.socket.write_all(HEAD_TOO_LARGE)).await == Ok(Ok(()))
        } else {
            self.course.answered.get() && self.hangup.check().is_ok()
        };
        if refused {
            // It waits a while for the peer to have heard the answer.
            return Socket::shutdown(self.socket, timeouts, timer).await;
        }
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
