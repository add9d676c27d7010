//! The answering end of a ring.
//! It is a type of its own, so that a back end cannot answer what was not asked.

use core::marker::PhantomData;

use zerocopy::FromZeros;

use super::{
    ENTRY_WORDS_MAX, Full, Notify, Overrun, Progress, Protocol, SharedPage, index, must_notify, read_entry,
    slot_offset, write_entry,
};

/// The back end's view: private copies of its own indices, and the page.
#[derive(Debug)]
pub struct BackRing<M, P> {
    memory: M,
    /// Requests consumed.
    req_cons: u32,
    /// Responses written, perhaps not yet published.
    rsp_prod: u32,
    /// Responses published.
    rsp_published: u32,
    /// Requests that the front end is known to have published.
    req_seen: u32,
    /// Indices of requests and responses as [`Self::progress`] told them last.
    told: (u32, u32),
    protocol: PhantomData<P>,
}

/// A request where it lies, in slots of whole 64-bit words. The front end may change it at any time, so that each word is judged
/// as it was read, and read once.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a, M> {
    memory: &'a M,
    offset: usize,
}

impl<M: SharedPage> Slot<'_, M> {
    /// The 64-bit word that stands so many words after the first.
    #[inline(always)]
    #[must_use]
    pub fn wide(&self, word: usize) -> u64 {
        self.memory.load_wide(self.offset + word * size_of::<u64>())
    }
}

impl<M: SharedPage, P: Protocol> BackRing<M, P> {
    /// Takes up a ring where its last back end left it; a new ring starts at zero.
    pub fn attach(memory: M) -> Self {
        let start = memory.load_acquire(index::RSP_PROD);
        Self {
            memory,
            req_cons: start,
            rsp_prod: start,
            rsp_published: start,
            req_seen: start,
            told: (start, start),
            protocol: PhantomData,
        }
    }

    /// Gives the page back.
    pub fn into_page(self) -> M {
        self.memory
    }

    /// Requests taken that have not been answered.
    #[must_use]
    pub fn unanswered(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod)
    }

    /// Requests that wait to be taken.
    ///
    /// # Errors
    /// [`Overrun`] when the front end claims to have asked more than a ring holds.
    pub fn ready(&self) -> Result<u32, Overrun> {
        let claimed = self.memory.load_acquire(index::REQ_PROD);
        let limit = self.rsp_prod.wrapping_add(P::SLOTS);
        let ready = claimed.wrapping_sub(self.req_cons);
        if ready > limit.wrapping_sub(self.req_cons) {
            return Err(Overrun { claimed, limit });
        }
        Ok(ready)
    }

    /// Whether it has come any further since [`Self::progress`] was asked.
    #[inline]
    pub fn has_moved(&self) -> bool {
        self.told != (self.req_cons, self.rsp_published)
    }

    /// How far it has come since this was asked last.
    #[inline(always)]
    pub fn progress(&mut self) -> Progress {
        let (requests, responses) = core::mem::replace(&mut self.told, (self.req_cons, self.rsp_published));
        let left = self.ready().unwrap_or(0);
        Progress::new((responses, self.rsp_published, self.unanswered()), (requests, self.req_cons, left))
    }

    /// Takes the next request, if there is one.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn pop(&mut self) -> Result<Option<P::Request>, Overrun> {
        let mut request = P::Request::new_zeroed();
        Ok(self.pop_into(&mut request)?.then_some(request))
    }

    /// Takes the next request, if there is one, into the place of an earlier one; what does not mean anything may stay of that.
    ///
    /// # Errors
    /// As [`Self::ready`].
    #[inline]
    pub fn pop_into(&mut self, request: &mut P::Request) -> Result<bool, Overrun> {
        if self.look()? == 0 {
            return Ok(false);
        }
        read_entry::<M, P, _>(&self.memory, self.req_cons, request, P::request_words);
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(true)
    }

    /// Requests that were seen and not taken. If there are none it looks for more.
    ///
    /// # Errors
    /// As [`Self::ready`].
    #[inline]
    pub fn look(&mut self) -> Result<u32, Overrun> {
        if self.req_seen == self.req_cons {
            self.req_seen = self.req_cons.wrapping_add(self.ready()?);
        }
        Ok(self.req_seen.wrapping_sub(self.req_cons))
    }

    /// A request where it lies, so many after the next. It means nothing unless [`Self::look`] counted it.
    #[inline]
    pub fn slot(&self, ahead: u32) -> Slot<'_, M> {
        Slot { memory: &self.memory, offset: slot_offset::<P>(self.req_cons.wrapping_add(ahead)) }
    }

    /// Takes requests that were read where they lie; of those that were seen only.
    #[inline]
    pub fn skip(&mut self, count: u32) {
        let seen = self.req_seen.wrapping_sub(self.req_cons);
        self.req_cons = self.req_cons.wrapping_add(count.min(seen));
    }

    /// Writes a response; the front end sees it after [`Self::publish`].
    ///
    /// # Errors
    /// [`Full`] when every request taken has been answered.
    pub fn push(&mut self, response: &P::Response) -> Result<(), Full> {
        if self.unanswered() == 0 {
            return Err(Full);
        }
        write_entry::<M, P, _>(&self.memory, self.rsp_prod, response, |_| ENTRY_WORDS_MAX);
        self.rsp_prod = self.rsp_prod.wrapping_add(1);
        Ok(())
    }

    /// Shows the front end all responses pushed so far, and says whether it has to be told.
    pub fn publish(&mut self) -> Notify {
        let (old, new) = (self.rsp_published, self.rsp_prod);
        if old == new {
            return Notify::Nothing;
        }
        self.memory.store_release(index::RSP_PROD, new);
        self.rsp_published = new;
        self.memory.fence();
        match must_notify(old, new, self.memory.load(index::RSP_EVENT)) {
            true => Notify::Needed,
            false => Notify::Suppressed,
        }
    }

    /// Asks to be notified of the next request, then looks once more: true means that there is one already, and
    /// the caller goes on instead of sleeping.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn arm(&mut self) -> Result<bool, Overrun> {
        self.memory.store(index::REQ_EVENT, self.req_cons.wrapping_add(1));
        self.memory.fence();
        Ok(self.ready()? > 0)
    }
}
