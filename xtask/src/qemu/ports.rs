//! Ports of this machine that lead to guests.
//! They are tried before QEMU starts, so that a taken one is named instead of found out in QEMU's words.

use std::net::{Ipv4Addr, TcpListener};

use crate::BadInput;

/// Where the search for free ports begins.
const FIRST_PORT: u16 = 18_000;

/// `count` ports of the loopback address, in rising order: exactly those from `wanted` on, or free ones.
///
/// # Errors
/// [`BadInput`] when a wanted port is taken, or too few are free.
pub(crate) fn choose(wanted: Option<u16>, count: usize) -> Result<Vec<u16>, BadInput> {
    let mut found = Vec::with_capacity(count);
    for port in wanted.unwrap_or(FIRST_PORT)..=u16::MAX {
        if found.len() == count {
            break;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_listener) => found.push(port),
            Err(error) if wanted.is_some() => {
                return Err(BadInput(format!(
                    "port {port} cannot be used: {error} (choose others with --port)"
                )));
            }
            Err(_) => {}
        }
    }
    if found.len() < count {
        return Err(BadInput(format!("only {} of {count} ports are free on this machine", found.len())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_port_that_is_taken_is_named() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let refusal = choose(Some(port), 1).unwrap_err();
        assert!(refusal.0.contains(&port.to_string()), "{}", refusal.0);
    }

    #[test]
    fn a_taken_port_is_passed_over_when_none_was_asked_for() {
        let first = choose(None, 1).unwrap()[0];
        let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert!(!choose(None, 3).unwrap().contains(&first));
    }
}
