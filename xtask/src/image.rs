//! `cargo xtask image`: a scenario as an ISO that boots under BIOS and UEFI.
//! It exists so that Denizen also starts where no emulator hands over a kernel: by GRUB and Multiboot2.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::boot::boot_archive;
use crate::scenario::{self, Load, Plan, Scenario};
use crate::{BadInput, cli, compile, paths, qemu, setup};

const MENU: &str = "set timeout=0\nset default=0\nserial --unit=0 --speed=115200\nterminal_input console serial\n\
terminal_output console serial\nmenuentry \"Denizen\" {\n    multiboot2 /boot/hypervisor\n    module2 /boot/denizen.cpio\n    boot\n}\n";

/// Writes the ISO and prints how to start it.
pub(crate) fn image(options: &cli::Image) -> Result<()> {
    let mut scenario = Scenario::open(&paths::root(), &options.scenario)?;
    scenario.keep(Load::Host);
    scenario.check(&compile::is_image)?;
    if scenario.system.domain.iter().any(|entry| !entry.disk.is_empty()) {
        let name = &scenario.name;
        return Err(BadInput(format!(
            "{name} has disks, which an ISO does not bring along; use cargo xtask run"
        ))
        .into());
    }
    setup::need(setup::ISO)?;
    setup::need_target()?;

    let plan = scenario::lower(&scenario)?;
    let folder = paths::run(&scenario.name);
    let output = match &options.output {
        Some(path) => path.clone(),
        None => folder.join("denizen.iso"),
    };
    write(&scenario, &plan, &folder.join("iso"), &output)?;
    say!("{}", paths::shown(&output));
    let memory = scenario.system.memory.get_ref();
    let network = network(&plan);
    let shown = paths::shown(&output);
    let common = format!(
        "-M q35 -cpu max,-smap -m {memory} -display none -serial stdio -no-reboot -cdrom {shown}{network}"
    );
    say!("\nBIOS:\n  {} {common}", qemu::PROGRAM);
    say!("UEFI:\n  {} -bios {} {common}", qemu::PROGRAM, setup::FIRMWARE);
    say!(
        "without a virtio network card:\n  {} -cpu max,-smap -m {memory} -display none -serial stdio -cdrom {shown}",
        qemu::PROGRAM
    );
    if !plan.guests.is_empty() {
        say!("the first guest then answers at http://127.0.0.1:{}/", FIRST_PORT);
    }
    Ok(())
}

/// First of the ports in the printed lines.
const FIRST_PORT: u16 = 18_000;
/// Guests that the printed lines forward ports to.
const FORWARDED: usize = 4;

fn network(plan: &Plan) -> String {
    if plan.guests.is_empty() {
        return String::new();
    }
    let [first, second] = plan.network;
    let ports = (FIRST_PORT..).zip(plan.guests.iter().take(FORWARDED));
    let forwards: String =
        ports.map(|(port, guest)| format!(",hostfwd=tcp:127.0.0.1:{port}-{}:80", guest.address)).collect();
    format!(
        " -netdev user,id=n0,net={first}.{second}.0.0/16,host={first}.{second}.0.2,dns={first}.{second}.0.3{forwards} -device virtio-net-pci,netdev=n0,disable-legacy=on"
    )
}

/// Lays out the disk in `folder` and makes the ISO of it.
fn write(scenario: &Scenario, plan: &Plan, folder: &Path, output: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    let boot = folder.join("boot");
    fs::create_dir_all(boot.join("grub")).with_context(|| format!("making {}", boot.display()))?;
    fs::copy(compile::hypervisor()?, boot.join("hypervisor")).context("copying the hypervisor")?;
    fs::write(boot.join("denizen.cpio"), boot_archive(scenario, plan)?)
        .context("writing the boot archive")?;
    fs::write(boot.join("grub/grub.cfg"), MENU).context("writing GRUB's menu")?;
    let made = Command::new("grub-mkrescue")
        .arg("--output")
        .args([output, folder])
        .stdin(Stdio::null())
        .output()
        .context("starting grub-mkrescue")?;
    if !made.status.success() || !output.is_file() {
        let errors = String::from_utf8_lossy(&made.stderr);
        bail!(
            "grub-mkrescue: {}",
            errors.lines().rfind(|line| line.contains(char::is_alphanumeric)).unwrap_or("no reason given")
        );
    }
    Ok(())
}
