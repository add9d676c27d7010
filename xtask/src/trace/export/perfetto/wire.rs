//! Packets of events, laid out by hand with the numbers of Perfetto's published schema.
//! A trace makes millions of them, and a general encoder looks at every field of each message twice.

use prost::Message;

use super::schema::Interned;
use super::tracks::Event;

/// `TrackEvent.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// A slice begins.
    Begin = 1,
    /// The innermost slice ends.
    End = 2,
    /// A moment.
    Instant = 3,
    /// A counter's new value.
    Counter = 4,
}

/// An event with everything that is known of it by number.
pub(super) struct Told<'a> {
    /// ns.
    pub(super) time: u64,
    /// The track.
    pub(super) track: u64,
    /// What it is.
    pub(super) what: Type,
    /// Its category; below 128.
    pub(super) category: Option<u8>,
    /// Its name.
    pub(super) name: Option<u64>,
    /// What else it says.
    pub(super) event: Event<'a>,
    /// Texts that are told with it.
    pub(super) texts: Option<Interned>,
}

/// Bytes of events, kept for their memory.
#[derive(Debug, Default)]
pub(super) struct Wire {
    event: Vec<u8>,
    packet: Vec<u8>,
}

/// Wire types: a number of one to ten bytes, one of eight, and bytes after their count.
const VARINT: u32 = 0;
const WORD: u32 = 1;
const BYTES: u32 = 2;

impl Wire {
    /// The `TracePacket` of an event, as field 1 of a file.
    pub(super) fn packet(&mut self, sequence: u8, flags: u8, told: &Told<'_>) -> &[u8] {
        self.event(told);
        let Self { event, packet } = self;
        // Room for the packet's own size.
        packet.clear();
        packet.extend_from_slice(&[0; HEAD]);
        number(packet, 8, told.time);
        packet.extend_from_slice(&[key(10, VARINT), sequence]);
        bytes(packet, 11, event);
        if let Some(texts) = &told.texts {
            bytes(packet, 12, &texts.encode_to_vec());
        }
        packet.extend_from_slice(&[key(13, VARINT), flags]);
        let (size, used) = varint((packet.len() - HEAD) as u64);
        let first = HEAD - 1 - used;
        packet[first] = key(1, BYTES);
        packet[first + 1..HEAD].copy_from_slice(&size[..used]);
        &packet[first..]
    }

    /// The `TrackEvent`.
    fn event(&mut self, told: &Told<'_>) {
        let Event { notes, flow, ends, value, .. } = told.event;
        let into = &mut self.event;
        into.clear();
        if let Some(category) = told.category {
            into.extend_from_slice(&[key(3, VARINT), category]);
        }
        for (name, value) in notes {
            let (value, used) = varint(*value);
            // `DebugAnnotation`.
            into.extend_from_slice(&[key(4, BYTES), used as u8 + 3, key(1, VARINT), name.iid()]);
            into.push(key(3, VARINT));
            into.extend_from_slice(&value[..used]);
        }
        into.extend_from_slice(&[key(9, VARINT), told.what as u8]);
        if let Some(name) = told.name {
            number(into, 10, name);
        }
        number(into, 11, told.track);
        if let Some(value) = value {
            into.extend_from_slice(&far(30, VARINT));
            let (value, used) = varint(value.cast_unsigned());
            into.extend_from_slice(&value[..used]);
        }
        for (field, flows) in [(47, flow.as_slice()), (48, ends)] {
            for flow in flows {
                into.extend_from_slice(&far(field, WORD));
                into.extend_from_slice(&flow.to_le_bytes());
            }
        }
    }
}

/// Most bytes of a packet's key and size.
const HEAD: usize = 11;

/// What stands before a field of a number below 16.
const fn key(field: u32, wire: u32) -> u8 {
    (field << 3 | wire) as u8
}

/// What stands before a field of a larger number.
const fn far(field: u32, wire: u32) -> [u8; 2] {
    let key = field << 3 | wire;
    [key as u8 | 0x80, (key >> 7) as u8]
}

#[inline]
fn number(into: &mut Vec<u8>, field: u32, value: u64) {
    let (value, used) = varint(value);
    into.push(key(field, VARINT));
    into.extend_from_slice(&value[..used]);
}

fn bytes(into: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    let (size, used) = varint(bytes.len() as u64);
    into.push(key(field, BYTES));
    into.extend_from_slice(&size[..used]);
    into.extend_from_slice(bytes);
}

/// A number seven bits a byte, the lowest first, and how many bytes that takes.
#[inline]
fn varint(mut value: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut used) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[used] = value as u8 | 0x80;
        value >>= 7;
        used += 1;
    }
    bytes[used] = value as u8;
    (bytes, used + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_are_written_as_the_general_encoder_does() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let (bytes, used) = varint(value);
                let mut other = Vec::new();
                prost::encoding::encode_varint(value, &mut other);
                assert_eq!(bytes[..used], other, "{value:#x}");
            }
        }
    }
}
