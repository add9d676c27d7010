//! What a guest is told of by being entered: exceptions, upcalls, system calls; and how it returns.
//! The guest's kernel cannot be interrupted by hardware, so each of these is a frame on its stack and a jump.

mod bounce;
mod emulate;
mod exception;
mod forced;
mod iret;
mod process;
mod registration;
mod short;

pub(crate) use bounce::{system_call, upcall};
pub(crate) use exception::exception;
pub(crate) use iret::iret;
pub(crate) use process::{
    iret as iret_to_process, page_fault as page_fault_of_process, page_fault_in_ring1,
    system_call as system_call_short,
};
pub use registration::{
    callback_op, fpu_taskswitch, get_debugreg, set_callbacks, set_debugreg, set_gdt, set_segment_base,
    set_trap_table, stack_switch,
};
pub(crate) use short::{iret as iret_short, is_due, page_fault as page_fault_short, upcall as upcall_short};
