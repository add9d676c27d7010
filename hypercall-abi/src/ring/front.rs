//! The asking end of a ring.
//! It is a type of its own, so that a front end cannot write what the back end owns.

use core::marker::PhantomData;

use zerocopy::FromZeros;

use super::{
    ENTRY_WORDS_MAX, Full, Notify, Overrun, Progress, Protocol, SharedPage, index, must_notify, read_entry,
    slot_offset, write_entry,
};

/// The front end's view: private copies of its own indices, and the page.
#[derive(Debug)]
pub struct FrontRing<M, P> {
    memory: M,
    /// Requests written, perhaps not yet published.
    req_prod: u32,
    /// Requests published.
    req_published: u32,
    /// Responses consumed.
    rsp_cons: u32,
    /// Responses that the back end is known to have published.
    rsp_seen: u32,
    /// Indices of requests and responses as [`Self::progress`] told them last.
    told: (u32, u32),
    protocol: PhantomData<P>,
}

impl<M: SharedPage, P: Protocol> FrontRing<M, P> {
    /// Makes the page an empty ring. To be called before the page is granted.
    pub fn new(memory: M) -> Self {
        memory.store(index::REQ_PROD, 0);
        memory.store(index::RSP_PROD, 0);
        memory.store(index::REQ_EVENT, 1);
        memory.store_release(index::RSP_EVENT, 1);
        Self {
            memory,
            req_prod: 0,
            req_published: 0,
            rsp_cons: 0,
            rsp_seen: 0,
            told: (0, 0),
            protocol: PhantomData,
        }
    }

    /// Gives the page back.
    pub fn into_page(self) -> M {
        self.memory
    }

    /// Requests that may be pushed before a response is taken.
    #[must_use]
    pub fn free(&self) -> u32 {
        P::SLOTS - self.outstanding()
    }

    /// Requests pushed that have no response taken yet.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.req_prod.wrapping_sub(self.rsp_cons)
    }

    /// Writes a request; the back end sees it after [`Self::publish`].
    ///
    /// # Errors
    /// [`Full`] when every slot waits for its response.
    pub fn push(&mut self, request: &P::Request) -> Result<(), Full> {
        if self.free() == 0 {
            return Err(Full);
        }
        write_entry::<M, P, _>(&self.memory, self.req_prod, request, P::request_words);
        self.req_prod = self.req_prod.wrapping_add(1);
        Ok(())
    }

    /// Writes a request of which these are the words, as far as they mean anything and fit: what is known of it stands at the place where
    /// it is needed, and no request has to be made and copied. For entries at multiples of eight bytes.
    ///
    /// # Errors
    /// As [`Self::push`].
    #[inline(always)]
    pub fn push_words<const N: usize>(
        &mut self,
        head: [u64; N],
        rest: impl IntoIterator<Item = u64>,
    ) -> Result<(), Full> {
        const { assert!(P::SLOT_BYTES.is_multiple_of(8) && N * 8 <= P::SLOT_BYTES, "a slot is whole words") }
        if self.free() == 0 {
            return Err(Full);
        }
        let offset = slot_offset::<P>(self.req_prod);
        self.memory.store_run(offset, &head.map(u64::to_ne_bytes));
        for (at, word) in (offset + N * 8..offset + P::SLOT_BYTES).step_by(8).zip(rest) {
            self.memory.store_wide(at, word);
        }
        self.req_prod = self.req_prod.wrapping_add(1);
        Ok(())
    }

    /// Shows the back end all requests pushed so far, and says whether it has to be told.
    pub fn publish(&mut self) -> Notify {
        let (old, new) = (self.req_published, self.req_prod);
        if old == new {
            return Notify::Nothing;
        }
        self.memory.store_release(index::REQ_PROD, new);
        self.req_published = new;
        self.memory.fence();
        match must_notify(old, new, self.memory.load(index::REQ_EVENT)) {
            true => Notify::Needed,
            false => Notify::Suppressed,
        }
    }

    /// Whether it has come any further since [`Self::progress`] was asked.
    #[inline]
    pub fn has_moved(&self) -> bool {
        self.told != (self.req_published, self.rsp_cons)
    }

    /// How far it has come since this was asked last.
    #[inline(always)]
    pub fn progress(&mut self) -> Progress {
        let (requests, responses) = core::mem::replace(&mut self.told, (self.req_published, self.rsp_cons));
        let left = self.ready().unwrap_or(0);
        Progress::new((requests, self.req_published, self.outstanding()), (responses, self.rsp_cons, left))
    }

    /// Takes the next response, if there is one.
    ///
    /// # Errors
    /// [`Overrun`] when the back end claims to have answered more than was asked.
    pub fn pop(&mut self) -> Result<Option<P::Response>, Overrun> {
        if self.rsp_seen == self.rsp_cons {
            self.rsp_seen = self.rsp_cons.wrapping_add(self.ready()?);
            if self.rsp_seen == self.rsp_cons {
                return Ok(None);
            }
        }
        let mut response = P::Response::new_zeroed();
        read_entry::<M, P, _>(&self.memory, self.rsp_cons, &mut response, |_| ENTRY_WORDS_MAX);
        self.rsp_cons = self.rsp_cons.wrapping_add(1);
        Ok(Some(response))
    }

    /// Responses that wait to be taken.
    ///
    /// # Errors
    /// As [`Self::pop`].
    pub fn ready(&self) -> Result<u32, Overrun> {
        let claimed = self.memory.load_acquire(index::RSP_PROD);
        let ready = claimed.wrapping_sub(self.rsp_cons);
        if ready > self.req_published.wrapping_sub(self.rsp_cons) {
            return Err(Overrun { claimed, limit: self.req_published });
        }
        Ok(ready)
    }

    /// Asks to be notified when `count` further responses (at least one) have come, then looks once more: true means
    /// that responses are there already, and the caller goes on instead of sleeping.
    ///
    /// # Errors
    /// As [`Self::pop`].
    pub fn arm(&mut self, count: u32) -> Result<bool, Overrun> {
        self.memory.store(index::RSP_EVENT, self.rsp_cons.wrapping_add(count.max(1)));
        self.memory.fence();
        Ok(self.ready()? >= count.max(1))
    }
}
