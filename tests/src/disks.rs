//! A driver domain with disks and its front ends, run turn by turn.
//! Nothing polls: each side runs only when an event is there, so a lost notification stops the test.

use std::task::{Context, Poll, Waker};

use drivers_backend::Turn;
use drivers_backend::block::{Access, AddError, BlockBack, Client, DiskId, Share, VbdId};
use drivers_frontend::block::{BlockConfig, BlockFront, DiskFault, Done, Ticket};
use hypercall_abi::DomId;
use hypercall_abi::device::BlockPage;
use hypercall_abi::ring::{FakePage, SharedPage, index};

use crate::platforms::{BackPlatform, FrontPlatform};
use crate::{DRIVER, Device, TestDisk, World};

/// A front end in its domain.
pub type Front = BlockFront<FrontPlatform, FakePage>;

/// Pages of the back end.
pub const BACK_PAGES: usize = 128;

/// All of it.
pub struct Disks {
    /// The hypervisor.
    pub world: World,
    /// The driver domain's back end; `None` while it is dead.
    pub back: Option<BlockBack<BackPlatform>>,
    /// The disks; number i is disk i.
    pub disks: Vec<TestDisk>,
    /// The front ends; number i is of domain 10 + i.
    pub fronts: Vec<Front>,
    /// Their devices.
    pub devices: Vec<Device>,
    /// What each may do.
    pub shares: Vec<Share>,
    /// Whether ring indices save notifications.
    pub suppress: bool,
    /// Whether front ends that join let the back end keep their pages mapped.
    pub lend: bool,
}

impl Disks {
    /// A driver domain with these disks, and no front end.
    #[must_use]
    pub fn new(disks: Vec<TestDisk>, suppress: bool) -> Self {
        let world = World::default();
        let mut all = Self {
            world,
            back: None,
            disks,
            fronts: Vec::new(),
            devices: Vec::new(),
            shares: Vec::new(),
            suppress,
            lend: true,
        };
        all.build_back();
        all
    }

    fn build_back(&mut self) {
        let platform = BackPlatform { world: self.world.clone(), domain: DRIVER, fickle: None };
        let mut back = BlockBack::new(platform, BACK_PAGES).expect("there are pages");
        for (id, disk) in (0..).zip(&self.disks) {
            assert!(back.add_disk(DiskId(id), Box::new(disk.clone())));
        }
        self.back = Some(back);
    }

    /// Domain of a front end.
    #[must_use]
    pub const fn domain(at: usize) -> DomId {
        DomId(10 + at as u16)
    }

    /// The back end.
    ///
    /// # Panics
    /// While it is dead.
    pub fn back(&mut self) -> &mut BlockBack<BackPlatform> {
        self.back.as_mut().expect("the driver domain lives")
    }

    fn client(&self, at: usize, device: &Device, share: Share) -> Client {
        Client { peer: Self::domain(at), state_port: device.back_port, suppress: self.suppress, share }
    }

    /// Adds a device without a front end.
    ///
    /// # Errors
    /// What the back end says.
    pub fn attach(&mut self, at: usize, share: Share) -> Result<Device, AddError> {
        let device = self.world.device(Self::domain(at), DRIVER);
        let client = self.client(at, &device, share);
        self.back().add(VbdId(at as u16), client, device.reference)?;
        Ok(device)
    }

    /// Adds a front end with this share of a disk, and connects it.
    ///
    /// # Panics
    /// When the back end refuses it.
    pub fn join(&mut self, share: Share, pages: u16) -> usize {
        let at = self.fronts.len();
        let device = self.attach(at, share).expect("the share is right");
        let platform = FrontPlatform { world: self.world.clone(), domain: Self::domain(at) };
        let config = BlockConfig {
            peer: Some(DRIVER),
            state_port: device.front_port,
            suppress: self.suppress,
            pages,
            lend: self.lend,
        };
        self.fronts.push(BlockFront::new(platform, device.page.clone(), config));
        self.devices.push(device);
        self.shares.push(share);
        self.run();
        at
    }

    /// A share of a whole disk.
    #[must_use]
    pub const fn whole(disk: u32, access: Access) -> Share {
        Share { disk: DiskId(disk), first: 0, sectors: 0, access }
    }

    /// One moment: each side sees its events once.
    pub fn moment(&mut self) -> bool {
        let mut busy = false;
        for at in 0..self.fronts.len() {
            busy |= self.run_front(at);
        }
        busy | self.run_back()
    }

    /// A front end sees its events.
    pub fn run_front(&mut self, at: usize) -> bool {
        let fired = self.world.fired(Self::domain(at));
        for port in &fired {
            if *port == self.devices[at].front_port {
                self.fronts[at].step();
            } else {
                self.fronts[at].collect();
            }
        }
        self.fronts[at].push();
        !fired.is_empty()
    }

    /// The back end sees its events, and the disks go on.
    pub fn run_back(&mut self) -> bool {
        let mut busy = false;
        let Some(back) = &mut self.back else { return false };
        for port in self.world.fired(DRIVER) {
            busy = true;
            back.event(port);
        }
        for (id, disk) in (0..).zip(&self.disks) {
            busy |= disk.is_busy() && !disk.medium.borrow().stuck;
            if disk.tick() {
                back.disk_event(DiskId(id));
            }
        }
        for _ in 0..10_000 {
            if let Turn::Idle { .. } = back.turn() {
                return busy;
            }
        }
        panic!("the back end never comes to rest");
    }

    /// Runs until nobody has anything to do.
    pub fn run(&mut self) {
        for _ in 0..10_000 {
            if !self.moment() {
                return;
            }
        }
        panic!("the disks never come to rest");
    }

    /// Takes an operation's result if it is done.
    pub fn result(&mut self, at: usize, ticket: Ticket, into: &mut [u8]) -> Option<Result<(), DiskFault>> {
        let mut context = Context::from_waker(Waker::noop());
        match self.fronts[at].poll_finish(ticket, into, &mut context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    /// What the queue of a front end says is done.
    pub fn done(&mut self, at: usize) -> Vec<Done> {
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while let Poll::Ready(done) = self.fronts[at].poll_done(&mut context) {
            all.push(done);
        }
        all
    }

    /// Reads and waits.
    ///
    /// # Errors
    /// What the front end says of it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn read(&mut self, at: usize, sector: u64, bytes: usize) -> Result<Vec<u8>, DiskFault> {
        let ticket = self.fronts[at].begin_read(sector, bytes).expect("a read begins");
        self.run();
        let mut into = vec![0; bytes];
        self.result(at, ticket, &mut into).expect("a read ends").map(|()| into)
    }

    /// Writes and waits.
    ///
    /// # Errors
    /// What the front end says of it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn write(&mut self, at: usize, sector: u64, data: &[u8]) -> Result<(), DiskFault> {
        let ticket = self.fronts[at].begin_write(sector, data).expect("a write begins");
        self.run();
        self.result(at, ticket, &mut []).expect("a write ends")
    }

    /// Flushes and waits.
    ///
    /// # Errors
    /// What the front end says of it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn flush(&mut self, at: usize) -> Result<(), DiskFault> {
        let ticket = self.fronts[at].begin_flush().expect("a flush begins");
        self.run();
        self.result(at, ticket, &mut []).expect("a flush ends")
    }

    /// Discards sectors.
    ///
    /// # Errors
    /// The fault.
    ///
    /// # Panics
    /// When it does not end.
    pub fn discard(&mut self, at: usize, sector: u64, sectors: u64) -> Result<(), DiskFault> {
        let ticket = self.fronts[at].begin_discard(sector, sectors).expect("a discard begins");
        self.run();
        self.result(at, ticket, &mut []).expect("a discard ends")
    }

    /// A front end's ring claims requests that cannot be, and its back end is told.
    ///
    /// # Panics
    /// When it has no ring.
    pub fn spoil_ring(&mut self, at: usize) {
        let half = BlockPage::back(self.devices[at].page.clone());
        let (ring, _) = half.offered();
        self.world.state().granted_page(Self::domain(at), ring).store(index::REQ_PROD, 1 << 20);
        let port = self.fronts[at].ring_port().expect("it is connected");
        self.world.state().notify(Self::domain(at), port);
    }

    /// The driver domain dies: its mappings and ports end, its disks are reset, each front end is told.
    ///
    /// # Panics
    /// When it is dead already.
    pub fn kill_back(&mut self) {
        let mut back = self.back.take().expect("the driver domain lives");
        for at in 0..self.fronts.len() {
            // As the hypervisor does for it: mappings undone, ports closed, the half says closed.
            back.remove(VbdId(at as u16));
        }
        drop(back);
        for disk in &self.disks {
            disk.medium.borrow_mut().reset();
        }
        // What the disks had of front ends' is let go of with the domain, and not before they are reset.
        self.world.state().unmap_all(DRIVER);
        for at in 0..self.fronts.len() {
            self.world.unbind(Self::domain(at), DRIVER, &self.devices[at]);
            self.fronts[at].set_peer(None);
        }
        self.world.fired(DRIVER);
    }

    /// The driver domain is built again.
    ///
    /// # Panics
    /// When its back end refuses a share that it took before.
    pub fn revive_back(&mut self) {
        self.build_back();
        for at in 0..self.fronts.len() {
            let device = self.world.bind_again(Self::domain(at), DRIVER, &self.devices[at]);
            let client = self.client(at, &device, self.shares[at]);
            self.back().add(VbdId(at as u16), client, device.reference).expect("as before");
            self.fronts[at].set_state_port(device.front_port);
            self.devices[at] = device;
            self.fronts[at].set_peer(Some(DRIVER));
        }
    }
}
