//! Ruling the system: commands typed on the serial line, and the same asked by a domain that may.
//! Both end in the same few functions, so that a run without a host can do what a host can.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use hypercall_abi::extension::{Control, ControlOp, Delivery, WINDOW_NS_MAX};
use hypercall_abi::{DomId, Errno};

use crate::brief;
use crate::call::Call;
use crate::config::Device;
use crate::delivery::{self, Policy};
use crate::domain::State;
use crate::life::{self, End};
use crate::machine::Machine;
use crate::report;
use crate::trace;
use crate::world::World;

/// Longest command.
const LINE_MAX: usize = 256;

/// A command being typed.
#[derive(Debug, Default)]
pub struct Input {
    line: Vec<u8>,
    /// Whether the line is too long and will be refused.
    overrun: bool,
}

/// Takes a byte of the serial line; a complete command is carried out and answered by one line.
pub(crate) fn typed<M: Machine>(world: &mut World, m: &mut M, byte: u8) {
    let input = &mut world.input;
    match byte {
        b'\n' | b'\r' => {
            let line = core::mem::take(&mut input.line);
            let overrun = core::mem::take(&mut input.overrun);
            let text = String::from_utf8_lossy(&line);
            if overrun {
                report::failed(world, "the command is too long");
            } else if !text.trim().is_empty() {
                command(world, m, text.trim());
            }
        }
        _ if input.line.len() < LINE_MAX && input.line.try_reserve(1).is_ok() => input.line.push(byte),
        _ => input.overrun = true,
    }
}

/// Carries out one command.
pub fn command<M: Machine>(world: &mut World, m: &mut M, text: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let result = match words.as_slice() {
        ["delivery", pattern, policy, rest @ ..] => set_delivery(world, m, pattern, policy, rest),
        ["snapshot"] => {
            report::snapshot(world, m, "");
            return;
        }
        ["snapshot", label] => {
            report::snapshot(world, m, label);
            return;
        }
        ["snapshot", label, "brief"] => {
            brief::snapshot(world, m, label);
            return;
        }
        ["trace", state @ ("on" | "off")] => set_trace(world, m, *state == "on"),
        ["trace", setting @ ..] => trace::set(world, m, setting),
        ["destroy", pattern] => end(world, m, pattern, End::Destroyed),
        ["crash", pattern] => end(world, m, pattern, End::Crashed),
        ["list"] => {
            report::list(world);
            return;
        }
        ["audit"] => {
            report::audit(world, m);
            return;
        }
        ["poweroff"] => {
            life::power_off(world, m);
            Ok(())
        }
        _ => Err(refusal(text, &words)),
    };
    match result {
        Ok(()) => report::done(world, text),
        Err(message) => report::failed(world, &message),
    }
}

/// What each command takes.
const COMMANDS: [&str; 8] = [
    "delivery PATTERN synchronous|batched|adaptive [EVENTS [US]]",
    "snapshot [LABEL [brief]]",
    "trace on|off|SETTING VALUE",
    "destroy PATTERN",
    "crash PATTERN",
    "list",
    "audit",
    "poweroff",
];

/// Why a command is none.
fn refusal(text: &str, words: &[&str]) -> String {
    let name = |usage: &&'static str| usage.split(' ').next().unwrap_or_default();
    match COMMANDS.iter().find(|usage| words.first() == Some(&name(usage))) {
        Some(usage) => format!("{text}: the command is {usage}"),
        None => {
            let names: Vec<_> = COMMANDS.iter().map(name).collect();
            format!("unknown command: {text}; there are {}", names.join(", "))
        }
    }
}

/// Whether a name fits a pattern: `*`, `prefix*` or the name itself.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn matching(world: &World, pattern: &str) -> Result<Vec<DomId>, String> {
    let running = world.domains.iter().filter(|domain| domain.state == State::Running);
    let found: Vec<_> =
        running.filter(|domain| fits(pattern, &domain.name)).map(|domain| domain.id).collect();
    if found.is_empty() { Err(format!("no domain fits {pattern}")) } else { Ok(found) }
}

fn set_delivery<M: Machine>(
    world: &mut World,
    m: &mut M,
    pattern: &str,
    policy: &str,
    rest: &[&str],
) -> Result<(), String> {
    let delivery = match policy {
        "synchronous" => Delivery::Synchronous,
        "batched" => Delivery::Batched,
        "adaptive" => Delivery::Adaptive,
        _ => {
            let known = "there are synchronous, batched, adaptive";
            return Err(format!("unknown delivery policy: {policy}; {known}"));
        }
    };
    let mut numbers = [0_u32; 2];
    if rest.len() > numbers.len() {
        return Err("delivery: too many numbers after the policy; there are EVENTS and US".to_string());
    }
    for (number, word) in numbers.iter_mut().zip(rest) {
        *number = word.parse().map_err(|_| format!("delivery: not a number: {word}"))?;
    }
    let [events, us] = numbers;
    let policy =
        Policy::from_raw(delivery.raw(), events, u64::from(us).saturating_mul(1000)).map_err(|_| {
            format!("delivery: the window is too long: {us} us, of {} at most", WINDOW_NS_MAX / 1000)
        })?;
    for id in matching(world, pattern)? {
        let _ = delivery::set_policy(world, m, id, policy);
    }
    Ok(())
}

fn set_trace<M: Machine>(world: &mut World, m: &mut M, on: bool) -> Result<(), String> {
    if trace::set_on(world, m, on) == on {
        Ok(())
    } else {
        Err("there is no storage for a trace".to_string())
    }
}

/// Ends the domains of a pattern. Who is destroyed while it waits to be built again is not.
fn end<M: Machine>(world: &mut World, m: &mut M, pattern: &str, end: End) -> Result<(), String> {
    let waited = end == End::Destroyed && life::give_up(world, |name| fits(pattern, name));
    let found = matching(world, pattern);
    if waited && found.is_err() {
        return Ok(());
    }
    for id in found? {
        life::end(world, m, id, end);
    }
    Ok(())
}

/// `control(&argument)`.
///
/// # Errors
/// [`Errno::Perm`] if the caller may not rule, [`Errno::Srch`] for a domain that is not there, [`Errno::Inval`] for a
/// bad argument, [`Errno::NoSys`] for an unknown operation, [`Errno::NoDev`] for a trace without storage.
#[cold]
#[inline(never)]
pub fn control<M: Machine>(call: &mut Call<'_, M>, at: u64) -> Result<u64, Errno> {
    if !call.domain()?.config.control {
        return Err(Errno::Perm);
    }
    let Control { op, domid, args: [a, b, c], .. } = call.read(at)?;
    let op = ControlOp::from_raw(op).ok_or(Errno::NoSys)?;
    let (world, m) = (&mut *call.world, &mut *call.memory);
    match op {
        ControlOp::SetDelivery => {
            let delivery = u32::try_from(a).map_err(|_| Errno::Inval)?;
            let events = u32::try_from(b).map_err(|_| Errno::Inval)?;
            let policy = Policy::from_raw(delivery, events, c)?;
            if DomId(domid) == DomId::INVALID {
                for id in front_ends(world, call.caller) {
                    delivery::set_policy(world, m, id, policy)?;
                }
            } else {
                delivery::set_policy(world, m, named(world, call.caller, domid)?, policy)?;
            }
        }
        ControlOp::Snapshot if b == 1 => brief::snapshot(world, m, &a.to_string()),
        ControlOp::Snapshot => report::snapshot(world, m, &a.to_string()),
        ControlOp::Trace => {
            let on = a != 0;
            if trace::set_on(world, m, on) != on {
                return Err(Errno::NoDev);
            }
        }
        ControlOp::Destroy => {
            let id = named(world, call.caller, domid)?;
            life::end(world, m, id, End::Destroyed);
        }
        ControlOp::Poweroff => {
            // The host, which could ask for it otherwise, is not there when a domain rules.
            report::audit(world, m);
            life::power_off(world, m);
        }
    }
    Ok(0)
}

/// The running domain that a ruler names.
fn named(world: &World, caller: DomId, domid: u16) -> Result<DomId, Errno> {
    let id = if DomId(domid) == DomId::SELF { caller } else { DomId(domid) };
    match world.domain(id)?.state {
        State::Running => Ok(id),
        _ => Err(Errno::Srch),
    }
}

/// Each running domain with a network front end, but the caller.
fn front_ends(world: &World, caller: DomId) -> Vec<DomId> {
    let has_front =
        |devices: &[Device]| devices.iter().any(|device| matches!(device, Device::NetFront { .. }));
    world
        .domains
        .iter()
        .filter(|domain| domain.state == State::Running && domain.id != caller)
        .filter(|domain| has_front(&domain.config.devices))
        .map(|domain| domain.id)
        .collect()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::{fits, refusal};

    #[test]
    fn what_is_no_command_is_answered_with_what_is() {
        let refused = |text: &str| refusal(text, &text.split(' ').collect::<Vec<_>>());
        assert_eq!(refused("destroy"), "destroy: the command is destroy PATTERN");
        assert!(
            refused("oweroff")
                .ends_with("there are delivery, snapshot, trace, destroy, crash, list, audit, poweroff")
        );
    }

    #[test]
    fn patterns_are_names_prefixes_or_everything() {
        assert!(fits("*", "web-1") && fits("web-*", "web-1") && fits("web-1", "web-1"));
        assert!(!fits("web-1", "web-10") && !fits("web-*", "driver") && !fits("", "web-1"));
    }
}
