//! The battery-backed clock: what time of day it is at the start.
//! It is read once; from then on the time-stamp counter tells the time.

use crate::cpu::port;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATING: u8 = 0x80;
const BINARY: u8 = 4;
const DAY_HAS_24_HOURS: u8 = 2;
const AFTERNOON: u8 = 0x80;

/// Seconds since 1970, of the clock as it stands.
pub(crate) fn seconds() -> u64 {
    // A tick between two reads shows in their difference.
    let mut last = fields();
    loop {
        let next = fields();
        if next == last {
            return since_1970(next);
        }
        last = next;
    }
}

/// Second, minute, hour, day, month, year of the century.
fn fields() -> [u8; 6] {
    while read(STATUS_A) & UPDATING != 0 {}
    let status = read(STATUS_B);
    let number = |value: u8| if status & BINARY == 0 { (value >> 4) * 10 + (value & 15) } else { value };
    let hour = read(4);
    let mut fields = [read(0), read(2), hour & !AFTERNOON, read(7), read(8), read(9)].map(number);
    if status & DAY_HAS_24_HOURS == 0 {
        fields[2] = fields[2] % 12 + if hour & AFTERNOON == 0 { 0 } else { 12 };
    }
    fields
}

fn read(register: u8) -> u8 {
    port::write_u8(INDEX, register);
    port::read_u8(DATA)
}

/// Years from March on, so that the leap day is a year's last.
fn since_1970([second, minute, hour, day, month, year]: [u8; 6]) -> u64 {
    let [second, minute, hour, day, month] = [second, minute, hour, day, month].map(u64::from);
    let year = 2000 + u64::from(year) - u64::from(month <= 2);
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    const DAYS_TO_1970: u64 = 719_469;
    ((days.saturating_sub(DAYS_TO_1970) * 24 + hour) * 60 + minute) * 60 + second
}
