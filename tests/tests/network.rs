//! Two drivers, a switch and TCP on both ends, joined in one process: data arrives whole, whatever is lost on the way.
//! The back end runs on events alone, so that every lost notification shows as a stalled transfer.

use smoltcp::iface::SocketHandle;
use smoltcp::time::Duration;
use tests::{HOST_IP, Net, Stack};

/// Moves `bytes` from one stack's socket to another's, through `step` for each moment; says whether all arrived whole.
fn transfer(
    net: &mut Net,
    bytes: usize,
    span: Duration,
    ends: impl Fn(&mut Net) -> (&mut Stack, &mut Stack),
    sockets: (SocketHandle, SocketHandle),
) -> bool {
    let pattern = |at: usize| (at * 31 + at / 251) as u8;
    let (mut sent, mut received) = (0, 0);
    net.run_until(span, |net| {
        let (from, to) = ends(net);
        let socket = from.tcp(sockets.0);
        while sent < bytes && socket.can_send() {
            let chunk: Vec<u8> = (sent..bytes.min(sent + 1000)).map(pattern).collect();
            sent += socket.send_slice(&chunk).expect("an open socket sends");
        }
        let socket = to.tcp(sockets.1);
        while socket.can_recv() {
            let mut chunk = [0; 1000];
            let count = socket.recv_slice(&mut chunk).expect("an open socket receives");
            for byte in &chunk[..count] {
                assert_eq!(*byte, pattern(received), "byte {received} arrives as it was sent");
                received += 1;
            }
        }
        received == bytes
    })
}

fn guests(net: &mut Net) -> (&mut Stack, &mut Stack) {
    let [first, second, ..] = net.guests.as_mut_slice() else { panic!("two guests") };
    (&mut first.stack, &mut second.stack)
}

fn connect_guests(net: &mut Net, port: u16) -> (SocketHandle, SocketHandle) {
    let server = net.guests[1].stack.listen(port);
    let client = net.guests[0].stack.connect(Net::ipv4(1), port, 40_000 + port);
    (client, server)
}

#[test]
fn who_has_work_done_is_charged_for_it() {
    let mut net = Net::new(3, 1, 0, true);
    let sockets = connect_guests(&mut net, 80);
    assert!(transfer(&mut net, 300_000, Duration::from_secs(5), guests, sockets));
    let charged = |at: u16| net.world.state().charged.get(&Net::domain(at)).copied().unwrap_or(0);
    // 1,460 bytes a frame: 206 of them, and acknowledgements back.
    assert!(charged(0) >= 192, "the sender: {}", charged(0));
    assert!(charged(0) > charged(1) && charged(1) < 206, "the receiver: {}", charged(1));
    assert_eq!(charged(2), 0, "a bystander");
}

#[test]
fn two_guests_exchange_data_through_ring_switch_and_ring() {
    for suppress in [true, false] {
        let mut net = Net::new(2, 1, 0, suppress);
        let sockets = connect_guests(&mut net, 80);
        assert!(transfer(&mut net, 300_000, Duration::from_secs(5), guests, sockets), "suppress {suppress}");
        assert_eq!(net.back.counters().spoofed, 0);
        assert_eq!(net.world.state().refused, 0);
    }
}

#[test]
fn data_arrives_whole_when_guests_lose_frames() {
    for seed in 0..8 {
        let mut net = Net::new(2, seed, 0, true);
        for guest in &mut net.guests {
            guest.loss = 50;
        }
        let sockets = connect_guests(&mut net, 80);
        assert!(transfer(&mut net, 60_000, Duration::from_secs(300), guests, sockets), "seed {seed}");
    }
}

#[test]
fn a_host_beyond_a_lossy_wire_reaches_every_guest() {
    let mut net = Net::new(20, 7, 30, true);
    for at in 0..20_u16 {
        let server = net.guests[usize::from(at)].stack.listen(80);
        let client = net.host.stack.connect(Net::ipv4(at), 80, 50_000 + at);
        let done = transfer(
            &mut net,
            5_000,
            Duration::from_secs(300),
            move |net| (&mut net.host.stack, &mut net.guests[usize::from(at)].stack),
            (client, server),
        );
        assert!(done, "guest {at}");
    }
}

#[test]
fn a_guest_reaches_the_host_by_its_gateways_address() {
    let mut net = Net::new(2, 3, 0, true);
    let server = net.host.stack.listen(7);
    let client = net.guests[1].stack.connect(HOST_IP, 7, 41_000);
    let done = transfer(
        &mut net,
        50_000,
        Duration::from_secs(5),
        |net| (&mut net.guests[1].stack, &mut net.host.stack),
        (client, server),
    );
    assert!(done);
    assert!(net.back.counters().answered > 0, "the switch answered for the gateway");
}

#[test]
fn suppression_saves_notifications_and_counts_them() {
    let raised = [true, false].map(|suppress| {
        let mut net = Net::new(2, 1, 0, suppress);
        let sockets = connect_guests(&mut net, 80);
        assert!(transfer(&mut net, 300_000, Duration::from_secs(5), guests, sockets));
        let saved = net.guests[0].front.counters().suppressed + net.guests[1].front.counters().suppressed;
        assert_eq!(saved > 0, suppress, "saved {saved}");
        net.world.state().raised
    });
    assert!(raised[0] < raised[1], "with suppression {} and without {}", raised[0], raised[1]);
}

#[test]
fn a_thousand_front_ends_share_one_back_end() {
    let mut net = Net::new(1000, 1, 0, true);
    assert!(net.guests.iter().all(|guest| guest.front.is_up()));
    let server = net.guests[999].stack.listen(80);
    let client = net.guests[0].stack.connect(Net::ipv4(999), 80, 40_000);
    let done = transfer(
        &mut net,
        20_000,
        Duration::from_millis(200),
        |net| {
            let [first, .., last] = net.guests.as_mut_slice() else { panic!("two guests") };
            (&mut first.stack, &mut last.stack)
        },
        (client, server),
    );
    assert!(done);
}
