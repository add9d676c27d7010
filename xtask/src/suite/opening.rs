//! Connections that open while the driver domain dies: each request has one of its own.
//! It exists because a load that keeps its connections hardly ever has one that is being opened when the driver domain dies.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::keep::{PATIENCE, connect};
use crate::load::{Target, fetch_each};
use crate::qemu::Clock;
use crate::run::boot::{self, How};
use crate::scenario::{Scenario, lower};
use crate::{compile, paths};

const GUESTS: usize = 8;
/// From one crash to the next, so that each falls into another moment of a connection's beginning.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(530), Duration::from_millis(710), Duration::from_millis(970)];
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";

/// What one client had.
struct Asked {
    requests: u32,
    longest: Duration,
}

/// The driver domain dies so many times while a client of each guest opens one connection after the other. Each request is answered.
pub(super) fn crashed(crashes: usize) -> Result<String> {
    let scenario = Scenario::parse(&paths::root(), &paths::run("suite").join("opening.toml"), text())?;
    scenario.check(&compile::is_guest)?;
    let how = How { forwarded: true, ..How::new(Clock::Real) };
    let mut booted = boot::boot(how, &scenario, lower(&scenario)?)?;
    let target = |name: &str, port| Target {
        name: name.to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        page: "/".to_owned(),
    };
    let targets: Vec<Target> =
        booted.forwards.iter().map(|(port, guest)| target(&guest.name, *port)).collect();
    let ended = booted.machine.ended();
    let silent = fetch_each(&targets, Instant::now() + PATIENCE, &ended, |_target| ())?;
    ensure!(silent.is_empty(), "{silent:?}; the log is {}", booted.machine.log().display());

    let over = Arc::new(AtomicBool::new(false));
    let clients = targets.into_iter().map(|target| {
        let over = Arc::clone(&over);
        thread::spawn(move || client(&target, &over))
    });
    let clients: Vec<_> = clients.collect();
    for pause in PAUSES.iter().cycle().take(crashes) {
        thread::sleep(*pause);
        booted.machine.command("crash driver", |_line| ())?;
    }
    over.store(true, Ordering::Release);
    let mut all = Asked { requests: 0, longest: Duration::ZERO };
    for client in clients {
        let asked = client.join().map_err(|_panic| anyhow!("a client panicked"))??;
        all.requests += asked.requests;
        all.longest = all.longest.max(asked.longest);
    }
    let (_, audit) = booted.machine.command("audit", |_line| ())?;
    ensure!(audit["ok"] == true, "the audit failed: {audit}");
    booted.machine.tell("poweroff")?;
    let seconds = all.longest.as_secs_f64();
    Ok(format!("{} connections, {crashes} crashes, no error, the longest wait {seconds:.1} s", all.requests))
}

fn text() -> String {
    format!(
        "description = \"Connections that open\"\nmemory = \"128M\"\nslice = \"5ms\"\nsubject = \"web\"\n\
         [[domain]]\nname = \"driver\"\nimage = \"driver-domain\"\nmemory = \"16M\"\nweight = 256\nring = 3\n\
         delivery = \"batched\"\non_crash = \"restart\"\npci = [\"1af4:1041\"]\n\
         [[domain]]\nname = \"web\"\nimage = \"web\"\ncount = {GUESTS}\nmemory = \"2M\"\nweight = 256\nring = 3\n\
         delivery = \"batched\"\non_crash = \"destroy\"\n\
         net = [{{ backend = \"driver\" }}]\n"
    )
}

/// Asks until it is over, each time over another connection.
fn client(target: &Target, over: &AtomicBool) -> Result<Asked> {
    let mut asked = Asked { requests: 0, longest: Duration::ZERO };
    while !over.load(Ordering::Acquire) {
        let began = Instant::now();
        once(target).with_context(|| {
            let seconds = began.elapsed().as_secs_f64();
            format!("{}, {seconds:.1} s after its connection, {} before", target.name, asked.requests)
        })?;
        asked.requests += 1;
        asked.longest = asked.longest.max(began.elapsed());
    }
    Ok(asked)
}

fn once(target: &Target) -> Result<()> {
    let mut stream = connect(target.address)?;
    stream.write_all(REQUEST).context("asking")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("hearing an answer")?;
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer, or half a head")?;
    ensure!(head.starts_with("http/1.1 200 "), "another answer than the page: {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let announced: usize = length.context("no length")?.trim().parse().context("reading a length")?;
    ensure!(announced > 0 && body.len() == announced, "{} bytes of {announced}", body.len());
    Ok(())
}
