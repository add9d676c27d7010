//! Carries out the core's requests for message interrupts.
//! The core decides which entry becomes which interrupt; the vector follows from the number.

use hypervisor_core::devices::DeviceRequest;

use crate::apic::{DEVICE_VECTORS, DEVICE_VECTORS_END};
use crate::log::log;
use crate::system::System;

/// Carries out all requests.
pub(crate) fn carry_out(system: &mut System) {
    let System { world, hardware } = system;
    for request in world.take_device_requests() {
        let (DeviceRequest::Route { device, .. } | DeviceRequest::Unroute { device, .. }) = request;
        let table = hardware.message_tables.iter().find(|table| table.device == device);
        let done = match (request, table) {
            (DeviceRequest::Route { entry, pirq, .. }, Some(table)) => vector(pirq)
                .is_some_and(|vector| table.route(&hardware.config, entry, vector, hardware.apic.id())),
            (DeviceRequest::Unroute { entry, .. }, Some(table)) => {
                table.unroute(&hardware.config, entry);
                true
            }
            (_, None) => false,
        };
        if !done {
            log!("device {device}: {request:?} cannot be carried out");
        }
    }
}

/// Vector of a device's interrupt.
fn vector(pirq: u32) -> Option<u8> {
    let vector = u8::try_from(pirq).ok()?.checked_add(DEVICE_VECTORS)?;
    (vector < DEVICE_VECTORS_END).then_some(vector)
}
