//! The load generator against web servers of this process, good and bad.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

/// Serves each connection with `serve(request number, stream)` until that returns false.
fn server(serve: fn(u32, &mut TcpStream) -> bool) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, serve));
        }
    });
    Target { name: "hello".to_owned(), address, page: "/page".to_owned() }
}

fn converse(mut stream: TcpStream, serve: fn(u32, &mut TcpStream) -> bool) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for number in 0.. {
        loop {
            match lines.next() {
                Some(Ok(line)) if line.is_empty() => break,
                Some(Ok(_header)) => {}
                _ => return,
            }
        }
        if !serve(number, &mut stream) {
            return;
        }
    }
}

fn page(_number: u32, stream: &mut TcpStream) -> bool {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").is_ok()
}

fn briefly(targets: &[Target], connections: usize) -> Outcome {
    load(targets, connections, Duration::from_millis(150), &Arc::default()).unwrap()
}

#[test]
fn a_good_server_gives_requests_latencies_and_no_error() {
    let outcome = briefly(&[server(page)], 4);
    assert_eq!((outcome.errors, outcome.first_error.as_deref()), (0, None));
    assert!(outcome.requests > 0);
    assert_eq!(outcome.latency.len(), outcome.requests);
    assert_eq!(outcome.bytes, 5 * outcome.requests);
}

#[test]
fn a_server_that_says_close_is_no_error() {
    let target = server(|_number, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        false
    });
    let outcome = briefly(&[target], 2);
    assert_eq!((outcome.errors, outcome.first_error), (0, None));
    assert!(outcome.requests > 0);
}

/// QEMU's way to listen, on a host that has other things to do.
#[test]
fn a_server_with_room_for_two_loses_no_connection() {
    let listener = runtime().unwrap().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(1).unwrap().into_std().unwrap()
    });
    listener.set_nonblocking(false).unwrap();
    let target =
        Target { name: "slow".to_owned(), address: listener.local_addr().unwrap(), page: "/page".to_owned() };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream, page));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let outcome = briefly(&[target], 12);
    assert_eq!((outcome.errors, outcome.first_error), (0, None));
    // What the kernel dropped, it would try again after a second: only that takes as long.
    assert!(outcome.connect_max_us < 1_000_000, "{} us", outcome.connect_max_us);
}

#[test]
fn a_server_that_keeps_silent_keeps_nobody_out_for_long() {
    // The first connection's request is never answered, the next ones' are.
    static FIRST: AtomicBool = AtomicBool::new(true);
    let target = server(|number, stream| {
        if FIRST.swap(false, Ordering::AcqRel) {
            std::thread::sleep(Duration::from_secs(2));
        }
        page(number, stream)
    });
    let length = Duration::from_millis(1300);
    let outcome = load(&[target], 3, length, &Arc::default()).unwrap();
    assert_eq!(outcome.errors, 0, "{:?}", outcome.first_error);
    // More than the one that waits and what began beside it.
    assert!(outcome.requests > 3, "{}", outcome.requests);
    assert!(outcome.latency.max() >= 1_900_000);
}

#[test]
fn a_reset_a_bad_status_and_a_short_body_are_errors() {
    let cut = server(|number, stream| number < 2 && page(number, stream));
    let bad =
        server(|_number, stream| stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").is_ok());
    let short = server(|_number, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
        false
    });
    for target in [cut, bad, short] {
        let outcome = briefly(&[target], 1);
        assert!(outcome.errors > 0, "{outcome:?}");
        assert!(outcome.first_error.is_some());
    }
}

#[test]
fn a_guest_that_does_not_answer_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let targets =
        [server(page), Target { name: "dead".to_owned(), address: closed, page: "/page".to_owned() }];
    let mut answered = Vec::new();
    let soon = Instant::now() + Duration::from_secs(2);
    let silent =
        fetch_each(&targets, soon, &Arc::default(), |target| answered.push(target.name.clone())).unwrap();
    assert_eq!(answered, [targets[0].name.clone()]);
    assert_eq!(silent.len(), 1);
    assert_eq!(silent[0].0, "dead");
}

#[test]
fn a_guest_that_answers_in_another_s_name_is_found_out() {
    let target = Target { name: "web-1".to_owned(), ..server(page) };
    let soon = Instant::now() + Duration::from_secs(2);
    let silent = fetch_each(&[target], soon, &Arc::default(), |_target| ()).unwrap();
    assert!(silent[0].1.contains("does not name web-1"), "{silent:?}");
}

#[test]
fn the_end_of_the_machine_ends_the_load() {
    let stop = Arc::new(AtomicBool::new(true));
    let start = Instant::now();
    let outcome = load(&[server(page)], 2, Duration::from_secs(30), &stop).unwrap();
    assert_eq!(outcome.requests, 0);
    assert!(start.elapsed() < Duration::from_secs(5));
}
