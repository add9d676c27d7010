//! A trace in the Common Trace Format 1.8, which `babeltrace2` and Trace Compass read.
//! Its metadata is written from the declarations of the records, as everything that describes them.

use std::fmt::Write as _;
use std::io::{Result, Write};

use hypervisor_core::trace::declare::{Field, Meaning};
use hypervisor_core::trace::reader::Entry;
use hypervisor_core::trace::records::DESCRIPTIONS;

use crate::trace::names::Names;

/// First word of each packet.
const MAGIC: u32 = 0xC1FC_1FC1;
/// Bytes of events in a packet.
const PACKET: usize = 1 << 20;
/// Bytes of a packet's header and context: magic, stream, two times, two sizes, losses.
const HEAD: usize = 4 + 4 + 5 * 8;

/// The description of the trace, in CTF's own language.
pub(super) fn metadata(names: &Names) -> String {
    let mut text = String::from(
        "/* CTF 1.8 */\n\
         typealias integer { size = 8; align = 8; signed = false; } := u8;\n\
         typealias integer { size = 16; align = 8; signed = false; } := u16;\n\
         typealias integer { size = 32; align = 8; signed = false; } := u32;\n\
         typealias integer { size = 64; align = 8; signed = false; } := u64;\n\
         typealias integer { size = 8; align = 8; signed = false; base = 16; } := x8;\n\
         typealias integer { size = 16; align = 8; signed = false; base = 16; } := x16;\n\
         typealias integer { size = 32; align = 8; signed = false; base = 16; } := x32;\n\
         typealias integer { size = 64; align = 8; signed = false; base = 16; } := x64;\n\
         trace { major = 1; minor = 8; byte_order = le;\n\
         \tpacket.header := struct { u32 magic; u32 stream_id; }; };\n\
         env { domain = \"denizen\"; tracer_name = \"denizen\"; };\n\
         clock { name = system; freq = 1000000000; offset = 0; description = \"System time\"; };\n\
         typealias integer { size = 64; align = 8; signed = false; map = clock.system.value; } := time;\n",
    );
    let domains: Vec<String> =
        names.each().map(|(id, name)| format!("\"{} ({})\" = {}", escaped(name), id.0, id.0)).collect();
    // An enumeration has at least one member.
    let domains = if domains.is_empty() { "\"idle\" = 32767".to_owned() } else { domains.join(", ") };
    let _ = writeln!(text, "typealias enum : u16 {{ {domains} }} := domain_t;");
    text.push_str(
        "stream { id = 0;\n\
         \tpacket.context := struct { time timestamp_begin; time timestamp_end; u64 content_size; u64 packet_size;\n\
         \t\tu64 events_discarded; };\n\
         \tevent.header := struct { u8 id; time timestamp; };\n\
         \tevent.context := struct { domain_t _domain; u8 _vcpu; u8 _cpu; }; };\n",
    );
    for about in DESCRIPTIONS {
        let (name, category) = (about.name, about.category.word());
        let _ = write!(text, "event {{ name = \"{category}:{name}\"; id = {}; stream_id = 0;", about.kind);
        text.push_str(" fields := struct {");
        for field in about.fields {
            let _ = write!(text, " {} _{};", kind(field), field.name);
        }
        text.push_str(" }; };\n");
    }
    text
}

/// The type of a field.
fn kind(field: &Field) -> String {
    let bits = field.bits;
    match field.meaning {
        Meaning::Of(numbers) => {
            let member =
                |one: &hypercall_abi::describe::Constant| format!("\"{}\" = {}", one.name, one.value);
            let members: Vec<String> = numbers.members.iter().map(member).collect();
            format!("enum : u{bits} {{ {} }}", members.join(", "))
        }
        Meaning::Domain if bits == 16 => "domain_t".to_owned(),
        Meaning::Text => "string".to_owned(),
        Meaning::Hex | Meaning::Result => format!("x{bits}"),
        _ => format!("u{bits}"),
    }
}

/// Text inside quotes: what could end it, or is no plain letter, becomes a line.
fn escaped(text: &str) -> String {
    let plain =
        |letter: char| (letter.is_ascii_graphic() || letter == ' ') && letter != '"' && letter != '\\';
    text.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect()
}

/// Writes the stream of events; returns how many. `lost` records are missing from it.
pub(super) fn write(entries: impl Iterator<Item = Entry>, lost: u64, output: &mut impl Write) -> Result<u64> {
    let mut packet: Vec<u8> = Vec::with_capacity(PACKET + 256);
    let (mut begin, mut end, mut written) = (0, 0, 0);
    for entry in entries {
        // A damaged block may step back in time, which a stream must not.
        end = entry.time_ns.max(end);
        if packet.is_empty() {
            begin = end;
        }
        event(&mut packet, &entry, end);
        written += 1;
        if packet.len() >= PACKET {
            flush(&mut packet, begin, end, lost, output)?;
        }
    }
    if !packet.is_empty() || written == 0 {
        flush(&mut packet, begin, end, lost, output)?;
    }
    output.flush()?;
    Ok(written)
}

fn event(packet: &mut Vec<u8>, entry: &Entry, time: u64) {
    packet.push(entry.record.kind());
    packet.extend(time.to_le_bytes());
    packet.extend(entry.domain.0.to_le_bytes());
    packet.extend([entry.vcpu, entry.cpu]);
    entry.record.each_field(|field, value| {
        let bytes = value.to_le_bytes();
        match field.meaning {
            Meaning::Text => {
                packet.extend(bytes.iter().copied().take_while(|byte| *byte != 0));
                packet.push(0);
            }
            _ => packet.extend(&bytes[..(field.bits / 8) as usize]),
        }
    });
}

fn flush(packet: &mut Vec<u8>, begin: u64, end: u64, lost: u64, output: &mut impl Write) -> Result<()> {
    let bits = (HEAD + packet.len()) as u64 * 8;
    output.write_all(&MAGIC.to_le_bytes())?;
    output.write_all(&0_u32.to_le_bytes())?;
    for word in [begin, end, bits, bits, lost] {
        output.write_all(&word.to_le_bytes())?;
    }
    output.write_all(packet)?;
    packet.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall_abi::DomId;
    use hypervisor_core::trace::Record;

    #[test]
    fn a_packet_says_its_size_its_times_and_what_is_missing() {
        let record = Record::EventRaised { merged: 1, port: 7, from: 2 };
        let entry = |time_ns| Entry { time_ns, cpu: 0, vcpu: 3, domain: DomId(1), record };
        let mut bytes = Vec::new();
        // The third steps back in time.
        let entries = [entry(5), entry(9), entry(8)];
        assert_eq!(write(entries.into_iter(), 4, &mut bytes).unwrap(), 3);
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let size = bytes.len() as u64 * 8;
        assert_eq!([8, 16, 24, 32, 40].map(word), [5, 9, size, size, 4]);
        let one = 1 + 8 + 2 + 1 + 1 + 1 + 4 + 2;
        assert_eq!(bytes.len(), HEAD + 3 * one);
        assert_eq!(&bytes[HEAD..HEAD + 14], [5, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0, 1]);
        assert_eq!(word(HEAD + 2 * one + 1), 9);
    }

    #[test]
    fn every_record_is_described_and_a_domain_s_name_cannot_end_the_text() {
        let text = metadata(&Names::new(&[(DomId(1), "a\"};\n".to_owned())].into()));
        for about in DESCRIPTIONS {
            assert!(text.contains(&format!(":{}\"; id = {};", about.name, about.kind)), "{}", about.name);
        }
        assert!(text.contains("\"a_};_ (1)\" = 1"), "{text}");
    }
}
