//! Switching the machine off by ACPI: the sleep state S5.
//! Its two numbers stand in a package named `_S5_` in the byte code, which is found by its bytes and not interpreted.

/// Opcodes of the byte code.
const NAME: u8 = 0x08;
const PACKAGE: u8 = 0x12;
const BYTE: u8 = 0x0a;
const ZERO: u8 = 0x00;
const ONE: u8 = 0x01;

/// How the machine is switched off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PowerOff {
    /// The control ports: the first always, the second on some machines.
    pub(crate) ports: [Option<u16>; 2],
    /// What they take as the type of sleep.
    pub(crate) types: [u8; 2],
}

impl PowerOff {
    /// The words to write and where.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (u16, u16)> {
        const ENABLE: u16 = 1 << 13;
        let commands = self.ports.into_iter().zip(self.types);
        commands.filter_map(|(port, kind)| Some((port?, ENABLE | u16::from(kind) << 10)))
    }
}

/// The types of sleep in the package `_S5_`.
pub(crate) fn soft_off_type(code: &[u8]) -> Option<[u8; 2]> {
    let at = code.windows(5).position(|window| window == [NAME, b'_', b'S', b'5', b'_'])?;
    let package = code.get(at + 5..)?;
    let (&PACKAGE, rest) = package.split_first()? else { return None };
    // The length's first byte says in its upper bits how many follow; then comes the count of elements.
    let length_bytes = usize::from(rest.first()? >> 6) + 1;
    let elements = rest.get(length_bytes + 1..)?;
    let (first, elements) = number(elements)?;
    let (second, _) = number(elements)?;
    Some([first & 7, second & 7])
}

fn number(code: &[u8]) -> Option<(u8, &[u8])> {
    match code {
        [BYTE, value, rest @ ..] => Some((*value, rest)),
        [value @ (ZERO | ONE), rest @ ..] => Some((*value, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_found_and_read() {
        let code = [1, 2, NAME, b'_', b'S', b'5', b'_', PACKAGE, 6, 4, BYTE, 5, ONE, ZERO, ZERO, 9];
        assert_eq!(soft_off_type(&code), Some([5, 1]));
    }

    #[test]
    fn damage_gives_nothing() {
        let code = [NAME, b'_', b'S', b'5', b'_', PACKAGE, 6, 4, BYTE, 5, ONE];
        for length in 0..code.len() {
            assert_eq!(soft_off_type(&code[..length]), None);
        }
        assert_eq!(soft_off_type(&[NAME, b'_', b'S', b'5', b'_', 0x10, 0, 0, 0, 0]), None);
    }

    #[test]
    fn every_control_port_is_commanded() {
        let off = PowerOff { ports: [Some(0x604), None], types: [0, 0] };
        assert_eq!(off.commands().collect::<Vec<_>>(), [(0x604, 0x2000)]);
    }
}
