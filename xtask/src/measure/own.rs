//! What the hypervisor itself takes for each request, and for whom: from a round with a build that counts it.
//! It exists because a domain's time on the processor has the hypervisor's work for it within.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::collect::{Collected, Image};
use super::point::{CLIENT, DRIVER, GUEST, Phase, phase, requests, round};

/// Instructions of the hypervisor for each request, without the saving and restoring of registers, which takes some 35
/// for each entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Own {
    /// All of them.
    pub(crate) total: f64,
    /// While the driver domain had the processor.
    pub(crate) driver: f64,
    /// While the measured guests had it.
    pub(crate) guests: f64,
    /// While the clients had it.
    pub(crate) clients: f64,
}

/// Of one segment.
pub(super) fn own(collected: &Collected, number: usize) -> Result<Own> {
    let phase: Phase<'_> = phase(collected, number)?;
    let answers = requests(collected, number).max(1) as f64;
    let of = |image| {
        let at = |image: &Image| image.hypervisor_ticks.unwrap_or(0);
        round(phase.of(image, at) as f64 / answers)
    };
    let counts = phase.after.images.iter().all(|image| image.hypervisor_ticks.is_some());
    counts.then_some(()).context("this build of the hypervisor does not count its own instructions")?;
    let (driver, guests, clients) = (of(DRIVER), of(GUEST), of(CLIENT));
    Ok(Own { total: round(driver + guests + clients), driver, guests, clients })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::Stamp;
    use crate::serial::Line;

    #[test]
    fn the_growth_of_each_image_is_shared_out_over_the_answers() {
        let mut collected = Collected::default();
        for (label, ticks) in [(0, [100, 200, 300]), (1, [1_100, 400, 700])] {
            let [driver, web, client] = ticks;
            let image = |image: &str, ticks: u64| {
                format!(
                    "{{\"image\":\"guests/{image}\",\"raised\":0,\"merged\":0,\"suppressed\":0,\"upcalls\":0,\
                     \"running_ns\":0,\"hypercalls\":{{}},\"hypervisor_ticks\":{ticks}}}"
                )
            };
            let images =
                [image("driver-domain", driver), image("web", web), image("client", client)].join(",");
            let line = format!(
                "@snapshot {{\"label\":\"{label}\",\"time_ns\":{label},\"switches\":0,\"idle_ns\":0,\"images\":[{images}]}}"
            );
            collected.see(&Line::parse(&line), Stamp::default()).unwrap();
        }
        let said = "client-1| @segment {\"client\":0,\"number\":0,\"policy\":0,\"requests\":10,\"errors\":0}";
        collected.see(&Line::parse(said), Stamp::default()).unwrap();
        let own = own(&collected, 0).unwrap();
        assert_eq!((own.driver, own.guests, own.clients, own.total), (100.0, 20.0, 40.0, 160.0));
    }
}
