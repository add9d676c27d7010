//! What the server answers: `/`, `/page?size=N`, `/bytes/N`, `/status`; 404 for other paths, 400 for bad sizes.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::Cell;
use core::fmt::Write;

use guest_kernel::hypercall::extension;
use guest_kernel::{Guest, trace};
use hypercall_abi::extension::DomainCounters;
use picoserve::Router;
use picoserve::extract::Query;
use picoserve::response::{IntoResponse, StatusCode};
use picoserve::routing::{PathRouter, get, parse_path_segment};

use crate::content::{Page, Text};

/// The largest page that is made.
const SIZE_MAX: usize = 1 << 30;

/// What answers are made from.
#[derive(Clone)]
pub(crate) struct State(Rc<Inner>);

struct Inner {
    guest: Guest,
    size: usize,
    requests: Cell<u64>,
}

/// The query of `/page`.
#[derive(serde::Deserialize)]
struct PageQuery {
    size: Option<usize>,
}

impl State {
    pub(crate) fn new(guest: Guest, size: usize) -> Self {
        Self(Rc::new(Inner { guest, size, requests: Cell::new(0) }))
    }

    fn count(&self) {
        self.0.requests.set(self.0.requests.get() + 1);
    }

    /// The front page: name and counters for people.
    fn front_page(&self) -> Text {
        self.count();
        let Inner { guest, requests, .. } = &*self.0;
        let mut body = format!(
            "<!doctype html><title>{name}</title><h1>{name}</h1><p>ring {}, {} bytes of memory, on {}</p>\
             <p>requests: {}</p><table>",
            guest.cpl(),
            guest.memory_bytes(),
            guest.hypervisor(),
            requests.get(),
            name = guest.name(),
        );
        for (name, value) in counters() {
            // Writing to a string does not fail.
            let _ = write!(body, "<tr><td>{name}<td>{value}");
        }
        body.push_str("</table>\n");
        Text { kind: "text/html; charset=utf-8", body }
    }

    /// The same for programs.
    fn status(&self) -> Text {
        self.count();
        let Inner { guest, requests, .. } = &*self.0;
        let mut body = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            body,
            "{{\"name\":\"{}\",\"cpl\":{},\"memory_bytes\":{},\"requests\":{},\"counters\":{{",
            guest.name(),
            guest.cpl(),
            guest.memory_bytes(),
            requests.get()
        );
        for (index, (name, value)) in counters().into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(body, "{comma}\"{name}\":{value}");
        }
        body.push_str("}}\n");
        Text { kind: "application/json", body }
    }

    /// A page of `size` bytes, the configured size if it asks for none.
    fn page(&self, size: Option<usize>) -> impl IntoResponse + use<> {
        self.count();
        let size = size.unwrap_or(self.0.size);
        trace::instant("page", size as u64);
        if size > SIZE_MAX {
            return Err((StatusCode::BAD_REQUEST, "size is too large\n"));
        }
        Ok(picoserve::response::Response::ok(Page(size)))
    }
}

/// What the hypervisor counted for this domain, by name.
fn counters() -> [(&'static str, u64); 10] {
    let DomainCounters {
        raised,
        merged,
        upcalls,
        switches,
        hypercalls,
        bounced,
        running_ns,
        runnable_ns,
        blocked_ns,
        frames,
    } = extension::counters().unwrap_or_else(|_| DomainCounters::zeroed());
    [
        ("raised", raised),
        ("merged", merged),
        ("upcalls", upcalls),
        ("switches", switches),
        ("hypercalls", hypercalls),
        ("bounced", bounced),
        ("running_ns", running_ns),
        ("runnable_ns", runnable_ns),
        ("blocked_ns", blocked_ns),
        ("frames", frames),
    ]
}

/// The routes.
pub(crate) fn router(state: State) -> Router<impl PathRouter> {
    let (front, status, sized, bytes) = (state.clone(), state.clone(), state.clone(), state);
    Router::new()
        .route(
            "/",
            get(move || {
                let answer = picoserve::response::Response::ok(front.front_page());
                async { answer }
            }),
        )
        .route(
            "/status",
            get(move || {
                let answer = picoserve::response::Response::ok(status.status());
                async { answer }
            }),
        )
        .route(
            "/page",
            get(move |Query(PageQuery { size })| {
                let answer = sized.page(size);
                async { answer }
            }),
        )
        .route(
            ("/bytes", parse_path_segment::<usize>()),
            get(move |size| {
                let answer = bytes.page(Some(size));
                async { answer }
            }),
        )
}
