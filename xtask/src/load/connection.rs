//! One keep-alive connection to a web server.
//! It exists so that each failure on the way, from connect to the last byte, is one error with its reason.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// The number in its first line.
    pub(crate) status: u16,
    /// Its media type; empty if it names none.
    pub(crate) kind: String,
    /// Its content, as long as it announced.
    pub(crate) body: Vec<u8>,
}

/// A keep-alive connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    host: String,
    closing: bool,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.context("no connection in time")?;
        let stream = stream.context("connecting")?;
        stream.set_nodelay(true).context("connecting")?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await.context("connecting")?;
        // The driver's own error reaches us through the request that it breaks.
        tokio::spawn(async move { drop(driver.await) });
        Ok(Self { sender, host: address.to_string(), closing: false })
    }

    /// Whether another request may be sent.
    pub(super) fn usable(&self) -> bool {
        !self.closing && !self.sender.is_closed()
    }

    /// Fetches a page; returns its body.
    pub(super) async fn get(&mut self, path: &str) -> Result<Vec<u8>> {
        let fetched = self.fetch(path).await?;
        ensure!(fetched.status == StatusCode::OK, "status {}", fetched.status);
        Ok(fetched.body)
    }

    /// Fetches a page, whatever the answer is.
    pub(super) async fn fetch(&mut self, path: &str) -> Result<Fetched> {
        timeout(PATIENCE, self.exchange(path))
            .await
            .with_context(|| format!("no answer in {} s", PATIENCE.as_secs()))?
    }

    async fn exchange(&mut self, path: &str) -> Result<Fetched> {
        let request =
            Request::get(path).header(HOST, &self.host).body(Empty::new()).context("making a request")?;
        self.sender.ready().await.context("the connection was closed")?;
        let response = self.sender.send_request(request).await.context("asking")?;
        let status = response.status().as_u16();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let says_close = response
            .headers()
            .get(CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        self.closing = says_close || response.version() == Version::HTTP_10;
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("reading the answer")?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
        let whole = announced.is_none_or(|length| length == bytes.len() as u64);
        ensure!(whole, "{} of {} bytes", bytes.len(), announced.unwrap_or_default());
        Ok(Fetched { status, kind, body: bytes })
    }
}
