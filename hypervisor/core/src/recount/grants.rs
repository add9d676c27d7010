//! Mappings and the granting tables' counts of them, compared.
//! Each handle of a mapping domain must be one use in the table that granted it, and there must be no others.

use alloc::format;
use alloc::vec::Vec;

use hypercall_abi::{DomId, GrantRef};

use super::Violation;
use crate::domains::Domains;

/// One use: who granted, which entry, for writing or not.
type Key = (DomId, GrantRef, bool);

pub(super) fn check(domains: &Domains) -> Result<(), Violation> {
    let mut handles: Vec<Key> = Vec::new();
    let mut uses: Vec<Key> = Vec::new();
    for domain in domains.iter() {
        for (granter, reference, write) in domain.grants.handles() {
            push(&mut handles, (granter, reference, write))?;
        }
        for (reference, readers, writers) in domain.grants.uses() {
            for _ in 0..readers {
                push(&mut uses, (domain.id, reference, false))?;
            }
            for _ in 0..writers {
                push(&mut uses, (domain.id, reference, true))?;
            }
        }
    }
    handles.sort_unstable();
    uses.sort_unstable();
    if handles == uses {
        return Ok(());
    }
    let odd = handles.iter().zip(&uses).find(|(handle, used)| handle != used);
    Err(Violation(format!(
        "{} mappings but {} uses of grants; first differing: {odd:?}",
        handles.len(),
        uses.len()
    )))
}

fn push(list: &mut Vec<Key>, key: Key) -> Result<(), Violation> {
    list.try_reserve(1).map_err(|_| Violation("no memory to compare grants".into()))?;
    list.push(key);
    Ok(())
}
