//! A client of the key-value server: changes keys of its own, and remembers what it was told.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::promise::{Change, Promise};

/// How long an answer may take; the death of a driver domain is to take a part of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the server may take to come up.
const START: Duration = Duration::from_secs(60);
/// How long the first attempt to reach it may take; each further one twice as long, up to the longest.
const ATTEMPT: Duration = Duration::from_millis(200);
const ATTEMPT_LONGEST: Duration = Duration::from_secs(5);
/// Keys of each client.
const KEYS: usize = 12;
/// The most bytes of padding in most values, and in some.
const PADDING: usize = 700;
const PADDING_LONG: usize = 4000;

/// What clients and those who wait for them tell each other.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The machine is about to end, or the load is over.
    pub(super) over: AtomicBool,
    /// Changes that were acknowledged in this life.
    pub(super) changes: AtomicU64,
}

impl Signals {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// What a client has done.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// Changes that were acknowledged.
    pub(super) changes: u64,
    /// Values that were read and were right.
    pub(super) reads: u64,
    /// The longest time until an answer.
    pub(super) longest: Duration,
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) promises: Vec<Promise>,
    random: fastrand::Rng,
    next: u64,
    pub(super) done: Done,
}

/// A connection to the server.
struct Connection {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Connection {
    /// Reaches the server once.
    fn attempt(address: SocketAddr, patience: Duration) -> Result<Self> {
        let output = TcpStream::connect_timeout(&address, patience).context("connecting")?;
        output.set_nodelay(true).context("connecting")?;
        output.set_read_timeout(Some(patience)).context("connecting")?;
        let input = BufReader::new(output.try_clone().context("connecting")?);
        let mut connection = Self { input, output };
        let answer = connection.ask("COUNT")?;
        ensure!(answer.starts_with("COUNT "), "to COUNT the server says {answer:?}");
        connection.output.set_read_timeout(Some(PATIENCE)).context("connecting")?;
        Ok(connection)
    }

    /// Reaches the server, which may have to come up first.
    fn open(address: SocketAddr, signals: &Signals) -> Result<Self> {
        let (start, mut patience) = (Instant::now(), ATTEMPT);
        loop {
            match Self::attempt(address, patience) {
                Err(error) if start.elapsed() > START || signals.is_over() => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
                connection => return connection,
            }
            patience = (patience * 2).min(ATTEMPT_LONGEST);
        }
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        self.output.write_all(format!("{line}\n").as_bytes()).context("sending")?;
        let mut answer = String::new();
        let read = self.input.read_line(&mut answer).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => anyhow::anyhow!("no answer in time"),
            _ => error.into(),
        });
        ensure!(read.context("waiting for an answer")? > 0, "the server closed the connection");
        Ok(answer.trim_end_matches('\n').to_owned())
    }

    fn get(&mut self, key: &str) -> Result<Option<String>> {
        let answer = self.ask(&format!("GET {key}"))?;
        match answer.strip_prefix("VALUE ") {
            Some(value) => Ok(Some(value.to_owned())),
            None if answer == "NONE" => Ok(None),
            None => bail!("to GET {key} the server says {answer:?}"),
        }
    }
}

impl Client {
    pub(super) fn new(number: u32, seed: u64) -> Self {
        Self {
            promises: (0..KEYS).map(|key| Promise::new(format!("client-{number}-key-{key}"))).collect(),
            random: fastrand::Rng::with_seed(seed ^ (u64::from(number) << 32)),
            next: 0,
            done: Done::default(),
        }
    }

    /// Reads all its keys, which must be what it was told or what it never heard of; then changes them until it is over. An
    /// error after that is nobody's fault.
    pub(super) fn run(&mut self, address: SocketAddr, signals: &Signals) -> Result<()> {
        let result = self.work(address, signals);
        if signals.is_over() { Ok(()) } else { result }
    }

    fn work(&mut self, address: SocketAddr, signals: &Signals) -> Result<()> {
        let mut connection = Connection::open(address, signals)?;
        for promise in &mut self.promises {
            let found = connection.get(&promise.key)?;
            ensure!(promise.allows(found.as_deref()), "{} is not what was acknowledged", promise.key);
            promise.settle(found);
            self.done.reads += 1;
        }
        while !signals.is_over() {
            let (start, before) = (Instant::now(), self.done.changes);
            self.step(&mut connection)?;
            signals.changes.fetch_add(self.done.changes - before, Ordering::AcqRel);
            self.done.longest = self.done.longest.max(start.elapsed());
        }
        Ok(())
    }

    fn step(&mut self, connection: &mut Connection) -> Result<()> {
        let Self { promises, random, next, done } = self;
        let at = random.usize(..promises.len());
        let Some(promise) = promises.get_mut(at) else { return Ok(()) };
        match random.u32(..8) {
            0 => {
                let found = connection.get(&promise.key)?;
                ensure!(found == promise.acknowledged, "{} is not what was acknowledged", promise.key);
                done.reads += 1;
            }
            1 => {
                promise.under_way = Some(Change::Delete);
                let answer = connection.ask(&format!("DEL {}", promise.key))?;
                let expected = if promise.acknowledged.is_some() { "OK" } else { "NONE" };
                ensure!(answer == expected, "to DEL {} the server says {answer:?}", promise.key);
                promise.settle(None);
                done.changes += 1;
            }
            _ => {
                *next += 1;
                let most = if random.u32(..8) == 0 { PADDING_LONG } else { PADDING };
                let letter = random.lowercase();
                let value = format!("{next} {}", letter.to_string().repeat(random.usize(..most)));
                promise.under_way = Some(Change::Set(value.clone()));
                let answer = connection.ask(&format!("SET {} {value}", promise.key))?;
                ensure!(answer == "OK", "to SET {} the server says {answer:?}", promise.key);
                promise.settle(Some(value));
                done.changes += 1;
            }
        }
        Ok(())
    }
}
