//! Tests of the whole core: systems of several domains, driven through the entry points that the machine uses.

mod calls;
mod devices;
mod events;
mod graces;
mod hostile;
mod life;
mod rings;
mod roots;
mod scheduling;
mod sharing;
mod short;
mod system;
mod trace;
mod trace_choice;
mod trace_guests;
mod trace_kinds;
mod trace_moments;
mod trace_reader;
mod traps;
