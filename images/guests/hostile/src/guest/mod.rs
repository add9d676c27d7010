//! The loop: draw, do, judge, count, until the life is over.

mod act;
mod death;
mod entry_area;
mod fpu;
mod image;
mod instructions;
mod own_process;
mod probe;
mod rings;
mod surroundings;
mod syscall;

use guest_kernel::{Guest, clock, println, upcall};
use hostile_plan::{Coverage, Generator};

use self::act::Actor;
use self::image::Image;

/// Calls after which the counts are reported even if nothing else happens.
const CALLS_A_REPORT: u64 = 4096;
/// Calls after which they are reported if there is something new: a life may end any moment, and its news with it.
const CALLS_TO_NEWS: u64 = 16;

/// Lives.
pub(crate) async fn run(guest: Guest) {
    upcall::mask();
    let line = guest.command_line();
    let number = |key| line.parse::<u64>(key, 0).unwrap_or(0);
    let incarnation = number("incarnation");
    let fpu = fpu::check_fresh();
    let home = surroundings::explore(line.get("deaths") != Some("0"));
    // Each domain of a scenario and each of its lives draws its own numbers.
    let seed = number("seed")
        .wrapping_mul(1_000_003)
        .wrapping_add(u64::from(home.estate.own) * 10_007)
        .wrapping_add(incarnation);
    println!("@hostile {{\"seed\":{seed},\"incarnation\":{incarnation},\"fresh_fpu\":{fpu}}}");
    let life_ns = match number("life_ms") {
        0 => u64::MAX,
        ms => ms * 1_000_000,
    };
    let end_ns = clock::now_ns().saturating_add(life_ns);
    let mut generator = Generator::new(seed, home.estate.clone());
    let mut actor =
        Actor { home, coverage: Coverage::default(), seed, clock: act::Clock::start(), image: Image::now() };
    if !fpu {
        actor.breach("a fresh domain has another's FPU state", "");
    }
    actor.rearm();
    if guest_kernel::trap::code_selector() & 3 == 1 {
        entry_area::attack(&mut actor);
        actor.rearm();
    }
    if incarnation == 0 {
        actor.report_due();
        (0..instructions::INSTRUCTIONS.len()).for_each(|index| actor.instruction(index));
    }
    fpu::mark(seed);
    let say_from = line.parse("say_from", u64::MAX).unwrap_or(u64::MAX);
    let mut drawn = 0_u64;
    loop {
        let now = actor.clock.now_ns();
        generator.set_time(now);
        let action = generator.draw();
        if drawn >= say_from {
            println!("@draw {drawn} {action:x?}");
        }
        actor.carry_out(&mut generator, &action);
        drawn += 1;
        if drawn.is_multiple_of(512) {
            if !fpu::is_marked(seed) {
                actor.breach("FPU state changed on its own", "");
            }
            fpu::mark(seed);
        }
        let due = if actor.coverage.has_news() { CALLS_TO_NEWS } else { CALLS_A_REPORT };
        if actor.coverage.calls >= due {
            actor.report();
        }
        if now >= end_ns && !generator.is_in_the_midst() {
            actor.check_image();
            actor.report();
            println!("@life {{\"seed\":{seed},\"ms\":{}}}", number("life_ms"));
            death::die(&mut actor, 0);
        }
        if drawn.is_multiple_of(4096) {
            actor.check_image();
            generator.tidy_up();
        }
    }
}
