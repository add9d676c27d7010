//! The local APIC: acknowledges interrupts and has the one-shot timer.
//! The timer counts down from a number that is written; writing 0 stops it.

use crate::cpu::msr;
use crate::paging::registers::Registers;

use super::{SPURIOUS_VECTOR, TIMER_VECTOR};

const ID: usize = 0x20;
const TASK_PRIORITY: usize = 0x80;
const END_OF_INTERRUPT: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const LVT_TIMER: usize = 0x320;
const LVT_PERFORMANCE: usize = 0x340;
const LVT_LINT0: usize = 0x350;
const LVT_LINT1: usize = 0x360;
const LVT_ERROR: usize = 0x370;
const INITIAL_COUNT: usize = 0x380;
const CURRENT_COUNT: usize = 0x390;
const DIVIDE: usize = 0x3e0;

const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const DIVIDE_BY_1: u32 = 0b1011;
/// Delivers as an NMI, for which there is no vector.
const NMI: u32 = 0b100 << 8;
const GLOBAL_ENABLE: u64 = 1 << 11;

/// This processor's local APIC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalApic(Registers);

impl LocalApic {
    /// Machine address of its registers.
    pub(crate) fn address() -> u64 {
        msr::read(msr::APIC_BASE) & 0x000f_ffff_ffff_f000
    }

    /// Takes it into use; `registers` map [`LocalApic::address`].
    pub(crate) fn initialise(registers: Registers) -> Self {
        // SAFETY: the APIC stays where it is and is switched on.
        unsafe { msr::write(msr::APIC_BASE, msr::read(msr::APIC_BASE) | GLOBAL_ENABLE) };
        let apic = Self(registers);
        apic.0.write(TASK_PRIORITY, 0);
        apic.0.write(LVT_LINT0, MASKED);
        apic.0.write(LVT_LINT1, NMI);
        apic.0.write(LVT_PERFORMANCE, MASKED);
        apic.0.write(LVT_ERROR, MASKED);
        apic.0.write(DIVIDE, DIVIDE_BY_1);
        apic.0.write(LVT_TIMER, MASKED | u32::from(TIMER_VECTOR));
        apic.0.write(SPURIOUS, ENABLED | u32::from(SPURIOUS_VECTOR));
        apic
    }

    /// Number by which messages reach this processor.
    pub(crate) fn id(&self) -> u8 {
        (self.0.read(ID) >> 24) as u8
    }

    /// Ends the interrupt being served.
    #[inline]
    pub(crate) fn end_of_interrupt(&self) {
        self.0.write(END_OF_INTERRUPT, 0);
    }

    /// Lets the timer count without an interrupt; what it counts from.
    pub(crate) fn start_counting(&self) -> u32 {
        self.0.write(INITIAL_COUNT, u32::MAX);
        u32::MAX
    }

    /// What the timer has left to count.
    pub(crate) fn count(&self) -> u32 {
        self.0.read(CURRENT_COUNT)
    }

    /// Lets the timer's end raise its interrupt.
    pub(crate) fn enable_timer(&self) {
        self.0.write(INITIAL_COUNT, 0);
        self.0.write(LVT_TIMER, u32::from(TIMER_VECTOR));
    }

    /// Starts the timer over; 0 stops it.
    #[inline]
    pub(crate) fn set_timer(&self, ticks: u32) {
        self.0.write(INITIAL_COUNT, ticks);
    }
}
