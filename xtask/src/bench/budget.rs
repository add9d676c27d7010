//! What no operation may exceed: half of what Xen needs for it.
//! Xen's figures stand here so that each test holds them against ours, without another hypervisor at hand.

use serde_json::Value;

/// Instructions of Debian's Xen 4.17 for the same guest, as `cargo xtask bench operations --peer xen` measured them under
/// QEMU's `-icount shift=0`; ns for the lateness of timers.
const XEN: [(&str, u64); 20] = [
    ("null_hypercall", 234),
    ("xen_version", 280),
    ("multicall_32_xen_version", 212),
    ("yield", 1_406),
    ("event_self_masked", 436),
    ("event_upcall_return_hypercall", 897),
    ("event_upcall_return_iretq", 588),
    ("timer_set", 553),
    ("timer_stop", 377),
    ("timer_lateness_ns", 4_165),
    ("mmu_update_1", 1_110),
    ("mmu_update_32", 712),
    ("mmu_update_accessed_1", 772),
    ("update_va_mapping", 997),
    ("page_fault_return_hypercall", 716),
    ("page_fault_return_iretq", 406),
    ("grant_copy_4096", 1_736),
    ("grant_copy_1", 1_225),
    ("grant_copy_granted_4096", 2_107),
    ("grant_copy_granted_1", 1_596),
];

/// Operations in a bench's figures that cost more than half of Xen's, or were not measured, in words.
pub(crate) fn over(figures: &Value) -> Vec<String> {
    let judge = |(name, xen): &(&str, u64)| match figures["operations"][name]["denizen"].as_u64() {
        None => Some(format!("{name} was not measured")),
        Some(ours) if ours * 2 > *xen => Some(format!("{name} costs {ours}, Xen {xen}")),
        Some(_) => None,
    };
    XEN.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{XEN, over};

    fn figures(of: impl Fn(u64) -> u64) -> Value {
        let rows = XEN.iter().map(|(name, xen)| ((*name).to_owned(), json!({"denizen": of(*xen)})));
        json!({"operations": rows.collect::<Map<_, _>>()})
    }

    #[test]
    fn half_is_not_over_and_one_more_is() {
        assert_eq!(over(&figures(|xen| xen / 2)), Vec::<String>::new());
        assert_eq!(over(&figures(|xen| xen / 2 + 1)).len(), XEN.len());
    }

    #[test]
    fn an_operation_that_was_not_measured_is_named() {
        let mut figures = figures(|_| 1);
        figures["operations"]["yield"] = Value::Null;
        assert_eq!(over(&figures), ["yield was not measured"]);
    }
}
