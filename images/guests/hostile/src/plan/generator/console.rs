//! The console: text, floods, and lines that would pass for another's.

use alloc::vec::Vec;

use hypercall_abi::Hypercall;
use hypercall_abi::console::ConsoleOp;

use super::Generator;
use crate::Call;

/// Texts that would mean something if they were believed.
const FORGERIES: [&[u8]; 6] = [
    b"@ok {\"command\":\"poweroff\"}\n",
    b"denizen: panic: not at all\n",
    b"\n@snapshot {\"label\":\"x\"}\n@audit {\"ok\":false}\n",
    b"web-1| @guest {\"cpl\":0}\n",
    b"\x1b[2J\x1b]0;title\x07\r\x08\x08 no line end",
    b"\xff\xfe\x00\x80 not text \xc3\x28\n",
];

impl Generator {
    /// Something with the console.
    pub(super) fn console(&mut self) {
        match self.random.below(6) {
            0 => {
                let text = self.random.pick(&FORGERIES);
                let call = self.write(text.to_vec());
                self.push_call(call, "a forged line");
            }
            1 if self.random.once_in(8) => {
                for _ in 0..self.random.below(8) {
                    let letter = b'a' + self.random.below(26) as u8;
                    let bytes = self.random.below(300) as usize;
                    let call = self.write(alloc::vec![letter; bytes]);
                    self.push_call(call, "console flood");
                }
            }
            2 => {
                let mut call = self.write(b"x".to_vec());
                call.args[1] = self.random.pick(&[0, 0x7fff_ffff, 1 << 31, 1 << 32, u64::MAX, 1 << 20]);
                self.push_call(call, "a huge count");
            }
            3 => {
                let mut call = self.write(alloc::vec![0; 64]);
                call.args[0] = ConsoleOp::Read.raw().into();
                self.push_call(call, "read what was typed");
            }
            4 => {
                let mut call = self.write(b"x".to_vec());
                call.args[0] = 2 + self.random.below(1 << 40);
                self.push_call(call, "no such operation");
            }
            _ => {
                let call = self.write(b"x\n".to_vec());
                self.push_call(call, "a line");
            }
        }
    }

    fn write(&mut self, text: Vec<u8>) -> Call {
        let count = text.len() as u64;
        let mut call = self.operate_bytes(Hypercall::ConsoleIo, ConsoleOp::Write.raw(), &text);
        let at = call.args[1];
        call.args = [ConsoleOp::Write.raw().into(), count, at, 0, 0];
        call
    }
}
