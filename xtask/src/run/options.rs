//! The options of `run`, put into a scenario.
//! It exists so that a changed scenario passes the same checks as a written one.

use toml::Spanned;

use super::boot::How;
use crate::BadInput;
use crate::cli::{Idle, Load, Run, Switch};
use crate::qemu::Clock;
use crate::scenario::Scenario;

/// Which scenario is meant.
pub(super) fn scenario_name(options: &Run) -> &str {
    match &options.scenario {
        Some(name) => name,
        None if from_inside(options) => "inside",
        None => "web",
    }
}

/// Whether the load comes from a guest.
pub(super) fn from_inside(options: &Run) -> bool {
    options.icount || options.load == Some(Load::Inside)
}

/// How the machine is to be started.
pub(super) fn how(options: &Run, scenario: &Scenario) -> How {
    How {
        clock: match (options.kvm, options.icount) {
            (true, _) => Clock::Kvm,
            (_, true) => Clock::Counted { seed: scenario.system.seed },
            _ => Clock::Real,
        },
        forwarded: !from_inside(options),
        port: options.port,
        gdb: options.gdb,
    }
}

/// Changes a scenario as the options say.
///
/// # Errors
/// [`BadInput`] when an option does not fit the scenario.
pub(super) fn apply(options: &Run, scenario: &mut Scenario) -> Result<(), BadInput> {
    if options.icount && options.load == Some(Load::Host) {
        return Err(BadInput("--icount skips idle time, so the load cannot come from the host".to_owned()));
    }
    if options.ring == Some(1) {
        return Err(BadInput("--ring 1 is not built yet; guests run in ring 3".to_owned()));
    }
    if options.ring == Some(2) {
        return Err(BadInput("--ring 2: a guest's kernel runs in ring 1 or 3".to_owned()));
    }
    if let Some(memory) = options.memory {
        replace(&mut scenario.system.memory, memory);
    }
    if let Some(seed) = options.seed {
        scenario.system.seed = seed;
    }
    let name = scenario.name.clone();
    let Some(subject) = scenario.subject_mut() else {
        let asked = options.guests.is_some()
            || options.keep
            || options.suppress == Switch::Off
            || options.idle == Idle::Plain;
        return match asked {
            true => Err(BadInput(format!(
                "scenario {name} names no subject that --guests, --keep, --suppress or --idle could mean"
            ))),
            false => Ok(()),
        };
    };
    if let Some(guests) = options.guests {
        match &mut subject.count {
            Some(count) => replace(count, guests),
            None => subject.count = Some(Spanned::new(subject.name.span(), guests)),
        }
    }
    if options.suppress == Switch::Off {
        subject.net.iter_mut().for_each(|device| device.suppress = false);
    }
    if options.idle == Idle::Plain {
        let line = format!("{} idle=plain", subject.command_line.get_ref());
        replace(&mut subject.command_line, line.trim().to_owned());
    }
    Ok(())
}

fn replace<T>(place: &mut Spanned<T>, value: T) {
    *place = Spanned::new(place.span(), value);
}
