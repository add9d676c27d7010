//! Copies of a process: each sees its own writes alone.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use program_runtime::{Error, Exit, calls};

/// Words that lie in several pages.
static WORDS: [AtomicU64; 4096] = [const { AtomicU64::new(0) }; 4096];
const STEP: usize = 512;

fn fill(value: u64) {
    WORDS.iter().step_by(STEP).for_each(|word| word.store(value, Relaxed));
}

fn holds(value: u64) -> bool {
    WORDS.iter().step_by(STEP).all(|word| word.load(Relaxed) == value)
}

/// Whether a child ended with this status.
fn ended(child: u64, status: u32) -> bool {
    calls::wait(child) == Ok(Exit::Status(status).to_word())
}

/// A tree of 15 processes, three levels below the first; each writes and looks whether what it wrote stays.
pub(crate) fn copies() -> u32 {
    fill(1);
    grow_tree(1, 3)
}

/// A process of the tree, whose words hold its number in it.
fn grow_tree(own: u64, levels: u32) -> u32 {
    if levels == 0 {
        return u32::from(!holds(own));
    }
    let mut children = [0; 2];
    for (side, child) in (0..).zip(&mut children) {
        let number = 2 * own + side;
        *child = match calls::fork() {
            Err(_) => return 2,
            Ok(0) => {
                if !holds(own) {
                    calls::exit(3);
                }
                fill(number);
                calls::yield_now();
                calls::exit(grow_tree(number, levels - 1))
            }
            Ok(child) => child,
        };
        calls::yield_now();
        if !holds(own) {
            return 4;
        }
    }
    if children.iter().all(|&child| ended(child, 0)) && holds(own) { 0 } else { 5 }
}

/// Forks until it is refused; the number of copies is limited.
pub(crate) fn bomb() -> u32 {
    loop {
        match calls::fork() {
            // Copies stay, so that they count.
            Ok(0) => loop {
                calls::sleep(1_000_000);
            },
            Ok(1..1000) => {}
            Err(Error::NoMemory) => return 0,
            Ok(_) | Err(_) => return 1,
        }
    }
}

/// Two processes that do nothing but yield get on equally well, and one that loops does not stop the other.
pub(crate) fn turns() -> u32 {
    let Ok(child) = calls::fork() else { return 1 };
    if child == 0 {
        loop {
            core::hint::spin_loop();
        }
    }
    let Ok(other) = calls::fork() else { return 2 };
    for _ in 0..3 {
        calls::yield_now();
    }
    if other == 0 {
        calls::exit(5);
    }
    if !ended(other, 5) {
        return 3;
    }
    // The one that loops ends with its parent.
    0
}

/// A child that loops is killed by its parent, who learns of it.
pub(crate) fn killed() -> u32 {
    let Ok(child) = calls::fork() else { return 1 };
    if child == 0 {
        loop {
            core::hint::spin_loop();
        }
    }
    calls::yield_now();
    if calls::kill(child + 1) != Err(Error::NoChild) || calls::kill(1) != Err(Error::NoChild) {
        return 2;
    }
    if calls::kill(child).is_err() || calls::wait(child) != Ok(Exit::Killed.to_word()) {
        return 3;
    }
    u32::from(calls::wait(child) != Err(Error::NoChild))
}
