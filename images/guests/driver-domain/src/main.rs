//! The driver domain as a guest: all of it is in the library, since another guest may turn into one.

#![no_std]
#![no_main]

guest_kernel::main!(driver_domain::run);
