//! QEMU's command line, from what a run wants.
//! It exists apart from the process so that it can be printed and tested.

use std::path::{Path, PathBuf};

use crate::scenario::{Drive, Guest, Size};

/// How time passes in the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// As the emulator gets on.
    Real,
    /// One tick an instruction, idle time skipped, the same at each run with this seed.
    Counted {
        /// QEMU's own random numbers.
        seed: u64,
    },
    /// The processor's own, by KVM.
    Kvm,
}

/// What a run wants.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The hypervisor's image, or a peer's.
    pub(crate) kernel: PathBuf,
    /// What the boot loader hands to it.
    pub(crate) initrd: PathBuf,
    /// Command line of the kernel.
    pub(crate) append: Option<String>,
    /// Memory of the machine.
    pub(crate) memory: Size,
    /// How time passes.
    pub(crate) clock: Clock,
    /// The network, if there is a card.
    pub(crate) network: Option<Network>,
    /// Disks.
    pub(crate) drives: Vec<Drive>,
    /// QEMU's word for how their images are read and written, but for those that are recorded.
    pub(crate) aio: &'static str,
    /// File that backs the shared trace, and its bytes.
    pub(crate) trace: Option<(PathBuf, u64)>,
    /// Socket of QEMU's monitor.
    pub(crate) monitor: Option<PathBuf>,
    /// Wait for gdb.
    pub(crate) gdb: bool,
    /// More of QEMU's own options, for those who look at the machine from outside.
    pub(crate) more: Vec<String>,
}

/// QEMU's user network and what it forwards.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// First two bytes of the /16.
    pub(crate) prefix: [u8; 2],
    /// Host port and guest.
    pub(crate) forwards: Vec<(u16, Guest)>,
}

/// The arguments, without the program.
pub(crate) fn arguments(options: &Options) -> Vec<String> {
    let mut line: Vec<String> = Vec::new();
    let mut add = |items: &[&str]| line.extend(items.iter().map(|item| (*item).to_owned()));
    add(&["-M", "q35", "-m", &options.memory.to_string(), "-nodefaults", "-no-user-config"]);
    match options.clock {
        Clock::Kvm => add(&["-accel", "kvm", "-cpu", "host"]),
        Clock::Real => add(&["-accel", "tcg", "-cpu", "max,-smap"]),
        Clock::Counted { seed } => {
            add(&["-accel", "tcg", "-cpu", "max,-smap,-rdrand,-rdseed", "-icount", "shift=0,sleep=off"]);
            add(&["-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", &seed.to_string()]);
        }
    }
    add(&["-display", "none", "-serial", "stdio", "-no-reboot"]);
    let monitor = options.monitor.as_ref().map(|path| format!("unix:{},server,nowait", path.display()));
    add(&["-monitor", monitor.as_deref().unwrap_or("none")]);
    add(&["-kernel", &options.kernel.to_string_lossy(), "-initrd", &options.initrd.to_string_lossy()]);
    if let Some(append) = &options.append {
        add(&["-append", append]);
    }
    if let Some(network) = &options.network {
        let [first, second] = network.prefix;
        // QEMU's own choice of host and name server would lie among the guests' addresses.
        let own =
            format!("host={first}.{second}.0.2,dns={first}.{second}.0.3,dhcpstart={first}.{second}.255.1");
        let mut user = format!("user,id=n0,net={first}.{second}.0.0/16,{own}");
        for (port, guest) in &network.forwards {
            user.push_str(&format!(",hostfwd=tcp:127.0.0.1:{port}-{}:{}", guest.address, guest.port));
        }
        add(&["-netdev", &user, "-device", "virtio-net-pci,netdev=n0,disable-legacy=on,romfile="]);
    }
    for (number, Drive { path, read_only, slot, recording, direct, .. }) in options.drives.iter().enumerate()
    {
        // A comma ends a value unless it is doubled.
        let name = |path: &Path| path.to_string_lossy().replace(',', ",,");
        let (file, access) = (name(path), if *read_only { "on" } else { "off" });
        match recording {
            None => {
                // What a guest discards is a hole in the image.
                let cache = if *direct { ",cache.direct=on" } else { "" };
                let how = format!(
                    "format=raw,aio={}{cache},if=none,id=d{number},readonly={access},discard=unmap",
                    options.aio
                );
                add(&["-drive", &format!("file={file},{how}")]);
            }
            Some(recording) => {
                let log = name(recording);
                let of_file =
                    |node: &str, file: &str| format!("driver=file,node-name={node},filename={file}");
                add(&["-blockdev", &of_file(&format!("f{number}"), &file)]);
                add(&["-blockdev", &of_file(&format!("l{number}"), &log)]);
                let both = format!("file=f{number},log=l{number},log-sector-size=512");
                add(&["-blockdev", &format!("driver=blklogwrites,node-name=d{number},{both}")]);
            }
        }
        // Guests are told of every error. QEMU would stop the machine when the host's disk is full, and nobody would know why.
        let errors = "werror=report,rerror=report";
        let device = format!("virtio-blk-pci,drive=d{number},addr={slot:#x},disable-legacy=on,{errors}");
        add(&["-device", &device]);
    }
    if let Some((path, bytes)) = &options.trace {
        let file = path.to_string_lossy();
        let backend = format!("memory-backend-file,id=shm,size={bytes},mem-path={file},share=on");
        add(&["-object", &backend, "-device", "ivshmem-plain,memdev=shm"]);
    }
    add(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
    if options.gdb {
        add(&["-s", "-S"]);
    }
    line.extend(options.more.iter().cloned());
    line
}

/// The arguments as one line for a shell.
pub(crate) fn shell(arguments: &[String]) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=,:+@".contains(letter);
    let quoted = |item: &String| {
        if item.is_empty() || !item.chars().all(plain) { format!("'{item}'") } else { item.clone() }
    };
    let words: Vec<String> = arguments.iter().map(quoted).collect();
    format!("{} {}", super::PROGRAM, words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Scenario, lower};

    fn options() -> Options {
        Options {
            kernel: "/k".into(),
            initrd: "/i".into(),
            append: None,
            memory: Size(512 << 20),
            clock: Clock::Real,
            network: None,
            drives: Vec::new(),
            aio: crate::qemu::aio::THREADS,
            trace: None,
            monitor: None,
            gdb: false,
            more: Vec::new(),
        }
    }

    #[test]
    fn kvm_is_used_only_when_asked_for() {
        assert!(!shell(&arguments(&options())).contains("kvm"));
        assert!(shell(&arguments(&Options { clock: Clock::Kvm, ..options() })).contains("-accel kvm"));
    }

    #[test]
    fn a_counted_clock_leaves_nothing_to_chance() {
        let line = shell(&arguments(&Options { clock: Clock::Counted { seed: 5 }, ..options() }));
        for part in ["-icount shift=0,sleep=off", "-rdrand,-rdseed", "clock=vm", "-seed 5"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }

    #[test]
    fn a_disk_that_fails_says_so_and_the_machine_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, [0; 512]).unwrap();
        let domain = |name: &str| {
            format!(
                "[[domain]]\nname = {name:?}\nimage = \"web\"\nmemory = \"2M\"\nweight = 256\nring = 3\n\
                 delivery = \"batched\"\non_crash = \"destroy\"\n"
            )
        };
        let disk = format!("disk = [{{ backend = \"driver\", image = {image:?}, mode = \"w\" }}]\n");
        let head = "description = \"a test\"\nmemory = \"64M\"\nslice = \"5ms\"\n";
        let text = head.to_owned() + &domain("driver") + &domain("user") + &disk;
        let scenario = Scenario::parse(Path::new("/repo"), Path::new("/repo/images/t.toml"), text).unwrap();
        let mut drives = lower(&scenario).unwrap().drives;
        drives.extend(drives.clone());
        drives[1].recording = Some("/recording".into());
        let line = arguments(&Options { drives, ..options() });
        let devices: Vec<&String> = line.iter().filter(|item| item.starts_with("virtio-blk-pci")).collect();
        assert_eq!(devices.len(), 2, "{line:?}");
        for device in devices {
            assert!(device.ends_with(",werror=report,rerror=report"), "{device}");
        }
    }

    #[test]
    fn every_guest_has_its_forwarded_port() {
        let guest = |last| Guest { name: format!("web-{last}"), address: [10, 16, 1, last].into(), port: 80 };
        let network = Network { prefix: [10, 16], forwards: vec![(18000, guest(1)), (18001, guest(2))] };
        let line = shell(&arguments(&Options { network: Some(network), ..options() }));
        assert!(
            line.contains(
                "hostfwd=tcp:127.0.0.1:18000-10.16.1.1:80,hostfwd=tcp:127.0.0.1:18001-10.16.1.2:80"
            )
        );
    }
}
