//! Bases of FS and GS. A guest changes them by itself too, so that only the processor knows the present ones.
//!
//! A kernel in ring 3 may have a base of GS for itself and another for its processes, as on Xen. It says so by setting
//! one of them; until then there is one base, and a change of mode changes the root alone. In ring 1 there always is
//! one, since kernel and processes change places without the hypervisor.

use hypercall_abi::trap::SegmentBase;

use crate::effects::Todo;

/// A vCPU's processor state beside its registers; the machine saves and loads it on a switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS in kernel mode; in user mode too, as long as there is one for both.
    pub gs_base_kernel: u64,
    /// Base of GS in user mode.
    pub gs_base_user: u64,
    /// Whether GS has a base for each mode.
    pub gs_apart: bool,
}

impl Segments {
    /// The base of GS that belongs into the processor.
    #[must_use]
    pub const fn gs_base(&self, user_mode: bool) -> u64 {
        if user_mode && self.gs_apart { self.gs_base_user } else { self.gs_base_kernel }
    }

    /// The same, to keep what the processor has.
    pub const fn gs_base_mut(&mut self, user_mode: bool) -> &mut u64 {
        if user_mode && self.gs_apart { &mut self.gs_base_user } else { &mut self.gs_base_kernel }
    }

    /// Sets a base. What is left to be done.
    pub const fn set(&mut self, which: SegmentBase, base: u64) -> Todo {
        match which {
            SegmentBase::Fs => {
                self.fs_base = base;
                Todo::FS
            }
            SegmentBase::GsKernel => {
                (self.gs_base_kernel, self.gs_apart) = (base, true);
                Todo::GS_KERNEL
            }
            SegmentBase::GsUser | SegmentBase::GsUserSelector => {
                (self.gs_base_user, self.gs_apart) = (base, true);
                Todo::GS_USER
            }
        }
    }

    /// The base of GS to load after `todo`, if the processor has one that belongs to processes alone (`loaded`) and
    /// should have one (`wanted`). What it has now is kept for its mode, unless that was given another in the meantime.
    #[must_use]
    pub fn exchange_gs(
        &mut self,
        todo: Todo,
        loaded: bool,
        wanted: bool,
        current: impl FnOnce() -> u64,
    ) -> Option<u64> {
        let is_set = |user| todo.contains(if user { Todo::GS_USER } else { Todo::GS_KERNEL });
        if loaded != wanted && !is_set(loaded) {
            *self.gs_base_mut(loaded) = current();
        }
        (loaded != wanted || is_set(wanted)).then(|| self.gs_base(wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNELS: u64 = 0x1000;
    const PROCESSES: u64 = 0x2000;

    /// Bases for each mode, as they were set.
    fn apart() -> Segments {
        let mut segments = Segments::default();
        let _ = segments.set(SegmentBase::GsKernel, KERNELS);
        let _ = segments.set(SegmentBase::GsUser, PROCESSES);
        segments
    }

    #[test]
    fn one_base_serves_both_modes_until_one_is_set() {
        let mut segments = Segments::default();
        *segments.gs_base_mut(true) = 7;
        assert_eq!((segments.gs_base(true), segments.gs_base(false)), (7, 7));
        assert_eq!(segments.set(SegmentBase::GsUser, PROCESSES), Todo::GS_USER);
        assert_eq!((segments.gs_base(true), segments.gs_base(false)), (PROCESSES, 7));
    }

    #[test]
    fn what_a_process_changed_by_itself_is_its_own_when_it_goes_on() {
        let mut segments = apart();
        assert_eq!(segments.exchange_gs(Todo::SEGMENTS, true, false, || 9), Some(KERNELS));
        assert_eq!(segments.exchange_gs(Todo::SEGMENTS, false, true, || KERNELS), Some(9));
    }

    #[test]
    fn a_base_that_was_set_is_not_lost_to_the_one_before() {
        let mut segments = apart();
        let todo = segments.set(SegmentBase::GsUser, 5) | segments.set(SegmentBase::GsKernel, 6);
        assert_eq!(segments.exchange_gs(todo | Todo::SEGMENTS, false, true, || KERNELS), Some(5));
        assert_eq!(segments.exchange_gs(Todo::SEGMENTS, true, false, || 5), Some(6));
    }

    #[test]
    fn only_a_base_that_is_in_use_is_loaded_when_it_is_set() {
        let mut segments = apart();
        let todo = segments.set(SegmentBase::GsUser, 5);
        assert_eq!(segments.exchange_gs(todo, false, false, || unreachable!()), None);
        let todo = segments.set(SegmentBase::GsKernel, KERNELS);
        assert_eq!(segments.exchange_gs(todo, false, false, || unreachable!()), Some(KERNELS));
    }
}
