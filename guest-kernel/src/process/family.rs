//! A process and all that came of it by `fork`: who runs next, who waits for whom.
//! They take turns; the first one's end is the end of all.

extern crate alloc;

use alloc::vec::Vec;

use process_abi::Exit;

/// A process's number; the first of a family has 1.
pub type Number = u64;

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It can run.
    Ready,
    /// It sleeps until this time, in ns.
    Sleeping(u64),
    /// It waits for a child's end.
    Waiting(Number),
    /// It has ended, and its parent has not asked how.
    Ended(Exit),
}

#[derive(Debug)]
struct Member<T> {
    number: Number,
    parent: Number,
    state: State,
    /// What the process is made of; gone when it has ended.
    process: Option<T>,
}

/// Who runs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This process.
    Run(Number),
    /// Nobody until this time, in ns.
    Sleep(u64),
    /// Nobody: each waits for another. It cannot be, since a parent waits for a child of its own.
    Stuck,
}

/// A family of processes.
#[derive(Debug)]
pub struct Family<T> {
    members: Vec<Member<T>>,
    next: Number,
    limit: usize,
    /// Index of who had the last turn.
    last: usize,
}

impl<T> Family<T> {
    /// Of one process, to grow to `limit` at most.
    #[must_use]
    pub fn new(first: T, limit: usize) -> Self {
        let member = Member { number: 1, parent: 0, state: State::Ready, process: Some(first) };
        Self { members: alloc::vec![member], next: 2, limit, last: 0 }
    }

    /// Whether one more process may be made.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.members.len() < self.limit
    }

    /// Adds a child; its number. It gets its turn after its parent.
    pub fn add(&mut self, parent: Number, process: T) -> Number {
        let number = self.next;
        self.next += 1;
        self.members.push(Member { number, parent, state: State::Ready, process: Some(process) });
        number
    }

    fn index(&self, number: Number) -> Option<usize> {
        self.members.iter().position(|member| member.number == number)
    }

    /// A process that has not ended.
    pub fn get_mut(&mut self, number: Number) -> Option<&mut T> {
        let index = self.index(number)?;
        self.members[index].process.as_mut()
    }

    /// Whose turn it is at `now`, in ns: the next after the last that can run.
    pub fn turn(&mut self, now: u64) -> Turn {
        let count = self.members.len();
        let mut earliest = None;
        for step in 1..=count {
            let index = (self.last + step) % count;
            let member = &mut self.members[index];
            match member.state {
                State::Sleeping(until) if until > now => {
                    earliest = Some(earliest.map_or(until, |earliest: u64| earliest.min(until)));
                    continue;
                }
                State::Waiting(_) | State::Ended(_) => continue,
                State::Ready | State::Sleeping(_) => member.state = State::Ready,
            }
            self.last = index;
            return Turn::Run(member.number);
        }
        earliest.map_or(Turn::Stuck, Turn::Sleep)
    }

    /// Whether another process than this one can run.
    #[must_use]
    pub fn others_ready(&self, number: Number) -> bool {
        self.members.iter().any(|member| member.number != number && member.state == State::Ready)
    }

    /// Puts a process to sleep until a time in ns.
    pub fn sleep(&mut self, number: Number, until: u64) {
        if let Some(index) = self.index(number) {
            self.members[index].state = State::Sleeping(until);
        }
    }

    /// A process asks how its child ended. If that is known the child is forgotten; if not, the process waits.
    ///
    /// # Errors
    /// [`NoChild`].
    pub fn wait(&mut self, number: Number, child: Number) -> Result<Option<Exit>, NoChild> {
        let index = self.child(number, child)?;
        if let State::Ended(exit) = self.members[index].state {
            self.remove(index);
            return Ok(Some(exit));
        }
        let waiting = self.index(number).ok_or(NoChild)?;
        self.members[waiting].state = State::Waiting(child);
        Ok(None)
    }

    /// Index of a child.
    fn child(&self, number: Number, child: Number) -> Result<usize, NoChild> {
        self.index(child).filter(|&index| self.members[index].parent == number).ok_or(NoChild)
    }

    /// Ends a child; who was told of it, as [`Self::end`] says.
    ///
    /// # Errors
    /// [`NoChild`].
    pub fn kill(&mut self, number: Number, child: Number) -> Result<(), NoChild> {
        let index = self.child(number, child)?;
        if self.members[index].process.is_some() {
            // Nobody waits for it: its parent asks for this.
            let _ = self.end(child, Exit::Killed);
        }
        Ok(())
    }

    /// A process has ended, its children with it. If its parent waits for it the parent goes on, and is named with
    /// what it is to be told.
    pub fn end(&mut self, number: Number, exit: Exit) -> Option<(Number, Exit)> {
        let index = self.index(number)?;
        drop(self.members[index].process.take());
        self.members[index].state = State::Ended(exit);
        let parent = self.members[index].parent;
        while let Some(child) = self.members.iter().position(|member| member.parent == number) {
            let child_number = self.members[child].number;
            self.end(child_number, Exit::Killed);
            if let Some(child) = self.index(child_number) {
                self.remove(child);
            }
        }
        let parent_index = self.index(parent)?;
        if self.members[parent_index].state != State::Waiting(number) {
            return None;
        }
        self.members[parent_index].state = State::Ready;
        if let Some(index) = self.index(number) {
            self.remove(index);
        }
        Some((parent, exit))
    }

    /// Forgets a member without disturbing the order of turns.
    fn remove(&mut self, index: usize) {
        self.members.remove(index);
        if index <= self.last {
            self.last = self.last.checked_sub(1).unwrap_or(self.members.len().saturating_sub(1));
        }
    }
}

/// No child has this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoChild;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_take_turns() {
        let mut family = Family::new("a", 8);
        assert_eq!(family.add(1, "b"), 2);
        assert_eq!(family.add(1, "c"), 3);
        let turns: Vec<Turn> = (0..6).map(|_| family.turn(0)).collect();
        assert_eq!(turns, [2, 3, 1, 2, 3, 1].map(Turn::Run));
    }

    #[test]
    fn sleepers_get_no_turn_before_their_time() {
        let mut family = Family::new("a", 8);
        family.add(1, "b");
        family.sleep(1, 100);
        assert_eq!((family.turn(0), family.turn(99)), (Turn::Run(2), Turn::Run(2)));
        family.sleep(2, 50);
        assert_eq!(family.turn(10), Turn::Sleep(50));
        assert_eq!((family.turn(100), family.turn(100)), (Turn::Run(1), Turn::Run(2)));
    }

    #[test]
    fn a_parent_learns_how_its_child_ended_whichever_came_first() {
        let mut family = Family::new("a", 8);
        let (first, second) = (family.add(1, "b"), family.add(1, "c"));
        assert_eq!(family.end(first, Exit::Status(7)), None);
        assert_eq!(family.wait(1, first), Ok(Some(Exit::Status(7))));
        assert_eq!(family.wait(1, first), Err(NoChild), "it is asked once");
        assert_eq!(family.wait(1, second), Ok(None));
        assert_eq!(family.turn(0), Turn::Run(second));
        assert_eq!(family.end(second, Exit::Memory), Some((1, Exit::Memory)));
        assert_eq!((family.turn(0), family.turn(0)), (Turn::Run(1), Turn::Run(1)));
    }

    #[test]
    fn only_a_parent_waits_and_kills() {
        let mut family = Family::new("a", 8);
        let child = family.add(1, "b");
        let grandchild = family.add(child, "c");
        assert_eq!(family.wait(1, grandchild), Err(NoChild));
        assert_eq!(family.wait(child, 1), Err(NoChild));
        assert_eq!(family.wait(1, 1), Err(NoChild));
        assert_eq!(family.kill(1, grandchild), Err(NoChild));
        assert_eq!(family.kill(1, child), Ok(()));
        assert!(family.get_mut(child).is_none() && family.get_mut(grandchild).is_none());
        assert_eq!(family.wait(1, child), Ok(Some(Exit::Killed)));
        assert_eq!(family.turn(0), Turn::Run(1));
    }

    #[test]
    fn the_dead_make_room() {
        let mut family = Family::new("a", 2);
        for _ in 0..10 {
            assert!(family.has_room());
            let child = family.add(1, "b");
            assert!(!family.has_room());
            assert_eq!(family.wait(1, child), Ok(None));
            assert_eq!(family.turn(0), Turn::Run(child));
            family.end(child, Exit::Status(0));
            assert_eq!(family.turn(0), Turn::Run(1));
        }
    }
}
