//! What clients send: commands, nonsense, and lines in any pieces.

use key_value::{Command, Line, LineReader, LineRefusal};

#[test]
fn commands_are_read_as_they_are_documented() {
    let set = |key, value| Ok(Command::Set { key, value });
    for (line, expected) in [
        (&b"SET k v"[..], set(b"k", b"v")),
        (b"set k two words ", set(b"k", b"two words ")),
        (b"SET k ", set(b"k", b"")),
        (b"GET k", Ok(Command::Get(b"k"))),
        (b"del \xff", Ok(Command::Delete(b"\xff"))),
        (b"COUNT", Ok(Command::Count)),
        (b"quit", Ok(Command::Quit)),
        (b"SET k", Err(LineRefusal::Form("SET key value"))),
        (b"SET  v", Err(LineRefusal::Form("SET key value"))),
        (b"GET", Err(LineRefusal::Form("GET key"))),
        (b"GET a b", Err(LineRefusal::Form("GET key"))),
        (b"COUNT all", Err(LineRefusal::Form("COUNT"))),
        (b"", Err(LineRefusal::Unknown)),
        (b"EHLO", Err(LineRefusal::Unknown)),
    ] {
        assert_eq!(Command::read(line), expected, "{}", line.escape_ascii());
    }
}

#[test]
fn lines_are_the_same_in_whatever_pieces_they_come() {
    let text = b"GET a\r\nSET b 12345\n0123456789abcdef\n0123456789abcdefg\n\n0123456789abcdef\r\nend\n";
    let whole = |line: &[u8]| Line::Whole(line.to_vec());
    let expected = [
        whole(b"GET a"),
        whole(b"SET b 12345"),
        whole(b"0123456789abcdef"),
        Line::Long,
        whole(b""),
        whole(b"0123456789abcdef"),
        whole(b"end"),
    ];
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let mut reader = LineReader::new(16);
        let (mut lines, mut rest) = (Vec::new(), &text[..]);
        while !rest.is_empty() {
            let mut piece = &rest[..random.usize(1..=rest.len())];
            rest = &rest[piece.len()..];
            while !piece.is_empty() {
                let (taken, line) = reader.take(piece);
                assert!(taken > 0);
                piece = &piece[taken..];
                lines.extend(line);
            }
        }
        assert_eq!(lines, expected);
    }
}
