//! What a request is answered with: a file, the page of a directory, where it really is, or why not.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;

use files_volume::{Found, OpenFile, Volume, content_type, decoded, encoded};
use http_server::Hangup;
use picoserve::ResponseSent;
use picoserve::io::{Read, Write};
use picoserve::request::{Path, Request};
use picoserve::response::{Content, IntoResponse, Response, ResponseWriter, StatusCode};
use picoserve::routing::PathRouterService;

use super::Sectors;

/// Bytes of a file that are read at a time: a block of the file system.
const PIECE_BYTES: usize = 4096;

/// What answers on one connection.
pub(crate) struct Files {
    pub(crate) volume: Volume<Sectors>,
    pub(crate) name: &'static str,
    pub(crate) hangup: Hangup,
}

/// An answer's content.
enum Body {
    Text(&'static str, String),
    File(&'static str, Box<OpenFile<Sectors>>),
}

/// The same, unless only what goes before it was asked for.
struct Answer {
    body: Body,
    head: bool,
    hangup: Hangup,
}

impl Content for Answer {
    fn content_type(&self) -> &'static str {
        match &self.body {
            Body::Text(kind, _) | Body::File(kind, _) => kind,
        }
    }

    fn content_length(&self) -> usize {
        match &self.body {
            Body::Text(_, text) => text.len(),
            Body::File(_, file) => usize::try_from(file.length()).unwrap_or(usize::MAX),
        }
    }

    async fn write_content<W: Write>(self, mut writer: W) -> Result<(), W::Error> {
        let Self { body, head, hangup } = self;
        match body {
            _ if head => {}
            Body::Text(_, text) => writer.write_all(text.as_bytes()).await?,
            Body::File(_, mut file) => {
                let mut piece = vec![0; PIECE_BYTES];
                let mut rest = file.length();
                while rest > 0 {
                    let read = match file.read(&mut piece).await {
                        Ok(bytes) if bytes > 0 => piece.get(..bytes).unwrap_or_default(),
                        result => {
                            // The length has been announced, so only the end of the connection can tell.
                            log::warn!("a file ends {rest} bytes early: {result:?}");
                            hangup.now();
                            break;
                        }
                    };
                    writer.write_all(read).await?;
                    rest = rest.saturating_sub(read.len() as u64);
                }
            }
        }
        Ok(())
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

fn text(status: StatusCode, text: &str) -> (StatusCode, Body) {
    (status, Body::Text(PLAIN, String::from(text)))
}

impl Files {
    /// Status and body for a path, and for a directory that was named without its slash where it is.
    async fn answer(&self, path: &[u8]) -> (StatusCode, Body, Option<String>) {
        let broken = |fault: &dyn core::fmt::Display| {
            log::warn!("{}: {fault}", String::from_utf8_lossy(path));
            text(StatusCode::INTERNAL_SERVER_ERROR, "this cannot be read\n")
        };
        let (status, body) = match self.volume.find(path).await {
            Ok(Found::File(file)) => (StatusCode::OK, Body::File(content_type(path), file)),
            Ok(Found::Directory) if !path.ends_with(b"/") => {
                let (status, body) = text(StatusCode::MOVED_PERMANENTLY, "a directory\n");
                return (status, body, Some(encoded(path) + "/"));
            }
            Ok(Found::Directory) => match self.volume.list(path).await {
                Ok(listing) => {
                    let page = listing.page(self.name, path);
                    (StatusCode::OK, Body::Text("text/html; charset=utf-8", page))
                }
                Err(fault) => broken(&fault),
            },
            Ok(Found::Special) => text(StatusCode::FORBIDDEN, "this has no content\n"),
            Ok(Found::Nothing) => text(StatusCode::NOT_FOUND, "there is no such file\n"),
            Err(fault) => broken(&fault),
        };
        (status, body, None)
    }
}

impl PathRouterService for Files {
    async fn call_path_router_service<R: Read, W: ResponseWriter<Error = R::Error>>(
        &self,
        (): &(),
        (): (),
        path: Path<'_>,
        request: Request<'_, R>,
        response_writer: W,
    ) -> Result<ResponseSent, W::Error> {
        let head = request.parts.method() == "HEAD";
        let (status, body, location) = if head || request.parts.method() == "GET" {
            self.answer(&decoded(path.encoded())).await
        } else {
            let (status, body) = text(StatusCode::METHOD_NOT_ALLOWED, "files are read only\n");
            (status, body, None)
        };
        let response = Response::new(status, Answer { body, head, hangup: self.hangup.clone() });
        let connection = request.body_connection.finalize().await?;
        match location {
            Some(location) => {
                response.with_header("Location", location).write_to(connection, response_writer).await
            }
            None => response.write_to(connection, response_writer).await,
        }
    }
}
