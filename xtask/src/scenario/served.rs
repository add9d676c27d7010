//! Whether what a scenario names as back ends are such: an image says by a note which devices it serves.
//! It exists because a front end whose back end is none waits for ever, and nobody would say why.

use hypercall_abi::device::DeviceKind;
use hypervisor_core::builder::serves;

use super::{Refusal, Scenario};

impl Scenario {
    /// Checks that each back end's image, which these files of the boot archive hold, serves such devices.
    ///
    /// # Errors
    /// The first device that nobody would serve.
    pub(crate) fn check_served(&self, members: &[(String, Vec<u8>)]) -> Result<(), Refusal> {
        for entry in &self.system.domain {
            let nets = entry.net.iter().map(|net| (&net.backend, DeviceKind::NetBack, "the network"));
            let disks = entry.disk.iter().map(|disk| (&disk.backend, DeviceKind::BlockBack, "disks"));
            for (backend, kind, what) in nets.chain(disks) {
                let domain = self.system.domain.iter().find(|one| one.name.get_ref() == backend.get_ref());
                let Some(image) = domain.map(|domain| domain.image.get_ref()) else { continue };
                let member = format!("guests/{image}");
                let Some((_, bytes)) = members.iter().find(|(name, _)| *name == member) else { continue };
                if !serves(bytes, kind) {
                    let message = format!(
                        "nobody would serve this: {:?} runs the image {image:?}, which has no back end for {what} (\"driver-domain\" has)",
                        backend.get_ref(),
                    );
                    return Err(self.refuse(backend.span(), message));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hypercall_abi::elf_note::{DENIZEN_NAME, DenizenNote};

    use super::*;

    /// Of notes.
    const ALIGNMENT: usize = 4;

    /// An ELF file of one program header, for notes: one for each number and content, under Denizen's name.
    fn image(notes: &[(u32, &[u8])]) -> Vec<u8> {
        let mut data = Vec::new();
        for (number, content) in notes {
            for word in [DENIZEN_NAME.len() as u32, content.len() as u32, *number] {
                data.extend(word.to_le_bytes());
            }
            data.extend(DENIZEN_NAME);
            data.extend(*content);
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        }
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        // Version, place of the program headers, sizes of header and program header, how many.
        (file[20], file[32], file[52], file[54], file[56]) = (1, 64, 64, 56, 1);
        file[64] = 4;
        file[72] = 120;
        file[96..104].copy_from_slice(&(data.len() as u64).to_le_bytes());
        file.extend(data);
        file
    }

    fn scenario() -> Scenario {
        let entry = |name: &str, image: &str, more: &str| {
            format!(
                "[[domain]]\nname = {name:?}\nimage = {image:?}\nmemory = \"1M\"\nweight = 1\nring = 3\n\
                 delivery = \"batched\"\non_crash = \"destroy\"\n{more}\n"
            )
        };
        let disk = "disk = [{ backend = \"storage\", ram = \"1M\", mode = \"w\" }]";
        let text = "description = \"a test\"\nmemory = \"64M\"\nslice = \"5ms\"\n".to_owned()
            + &entry("storage", "back", "")
            + &entry("user", "front", &format!("net = [{{ backend = \"storage\" }}]\n{disk}"));
        let path = std::path::Path::new("/repo/images/t.toml");
        Scenario::parse(std::path::Path::new("/repo"), path, text).unwrap()
    }

    #[test]
    fn a_back_end_serves_what_its_image_says() {
        let (net, block) = (DeviceKind::NetBack.raw() as u8, DeviceKind::BlockBack.raw() as u8);
        let number = DenizenNote::BackEnds.raw();
        let judge = |back: Vec<u8>| {
            let members = [("guests/front".to_owned(), image(&[])), ("guests/back".to_owned(), back)];
            scenario().check_served(&members).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(judge(image(&[(1, &[]), (number, &[net, block])])), Ok(()));
        let message = judge(image(&[(number, &[block])])).unwrap_err();
        assert!(message.starts_with("images/t.toml:21: domain[1].net[0].backend: "), "{message}");
        let message = judge(image(&[(number, &[net]), (1, &[block])])).unwrap_err();
        assert!(message.starts_with("images/t.toml:22: domain[1].disk[0].backend: "), "{message}");
        assert!(
            message.contains("\"storage\" runs the image \"back\"") && message.contains("disks"),
            "{message}"
        );
        for none in [image(&[]), Vec::new(), b"#!/bin/sh".to_vec()] {
            assert!(judge(none).is_err());
        }
    }
}
