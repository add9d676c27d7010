//! Scenarios that are refused, each with file, line and key.

use super::*;

const GOOD: &str = r#"description = "a test"
memory = "64M"
slice = "5ms"
subject = "web"

[[domain]]
name = "driver"
image = "driver-domain"
memory = "4M"
weight = 256
ring = 3
delivery = "synchronous"
on_crash = "poweroff"
pci = ["1af4:1041"]

[[domain]]
name = "web"
image = "web"
count = 3
memory = "2M"
weight = 256
ring = 3
delivery = "batched"
on_crash = "restart"
net = [{ backend = "driver" }]
"#;

fn judge(text: &str) -> Result<Scenario, Refusal> {
    let scenario = Scenario::parse(Path::new("/repo"), Path::new("/repo/images/t.toml"), text.to_owned())?;
    scenario.check(&|image| image != "missing")?;
    Ok(scenario)
}

/// The message after replacing `from` by `to` in a good scenario.
fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the good scenario");
    judge(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn a_good_scenario_is_lowered_with_names_and_addresses() {
    let plan = lower(&judge(GOOD).unwrap()).unwrap();
    let names: Vec<&str> = plan.config.domains.iter().map(|domain| domain.name.as_str()).collect();
    assert_eq!(names, ["driver", "web-1", "web-2", "web-3"]);
    assert_eq!(plan.images, ["driver-domain", "web"]);
    assert_eq!(plan.guests[2].address, std::net::Ipv4Addr::new(10, 16, 1, 3));
}

#[test]
fn addresses_never_end_in_0_or_255_and_are_unique() {
    let text = GOOD.replace("count = 3", "count = 600").replace("memory = \"64M\"", "memory = \"4G\"");
    let plan = lower(&judge(&text).unwrap()).unwrap();
    let unique: std::collections::HashSet<_> = plan.guests.iter().map(|guest| guest.address).collect();
    assert_eq!(unique.len(), 600);
    assert!(unique.iter().all(|address| !matches!(address.octets()[3], 0 | 255)));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    says(
        &refusal("weight = 256\nring = 3\ndelivery = \"batched\"", "wieght = 256"),
        &["images/t.toml:21: domain[1].wieght", "unknown"],
    );
}

#[test]
fn a_wrong_type_is_named_with_its_line() {
    says(&refusal("count = 3", "count = \"three\""), &["images/t.toml:19: domain[1].count", "invalid type"]);
}

#[test]
fn a_missing_key_is_named_with_its_table() {
    says(&refusal("slice = \"5ms\"\n", ""), &["images/t.toml", "slice", "missing"]);
}

#[test]
fn a_size_without_unit_is_refused() {
    says(&refusal("memory = \"2M\"", "memory = \"2000\""), &["images/t.toml:20: domain[1].memory", "512K"]);
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    says(&refusal("count = 3", "count = = 3"), &["images/t.toml:19"]);
}

#[test]
fn a_missing_image_is_named() {
    says(
        &refusal("image = \"web\"", "image = \"missing\""),
        &["images/t.toml:18: domain[1].image", "missing"],
    );
}

#[test]
fn two_devices_with_one_mac_are_refused() {
    let device = "net = [{ backend = \"driver\", mac = \"02:de:00:00:00:07\" }, { backend = \"driver\", mac = \"02:de:00:00:00:07\" }]";
    let text = GOOD.replace("count = 3\n", "").replace("net = [{ backend = \"driver\" }]", device);
    says(
        &judge(&text).unwrap_err().to_string(),
        &["images/t.toml:24: domain[1].net[1].mac", "two devices with one MAC"],
    );
}

#[test]
fn a_fixed_mac_with_a_count_is_two_devices_with_one_mac() {
    let message =
        refusal("{ backend = \"driver\" }", "{ backend = \"driver\", mac = \"02:de:00:00:00:07\" }");
    says(&message, &["images/t.toml:25: domain[1].net[0].mac", "two devices with one MAC"]);
}

#[test]
fn a_fixed_mac_is_never_given_to_another() {
    let text = GOOD.to_owned()
        + "[[domain]]\nname = \"fixed\"\nimage = \"web\"\nmemory = \"2M\"\nweight = 1\nring = 3\ndelivery = \"batched\"\n\
           on_crash = \"destroy\"\nnet = [{ backend = \"driver\", mac = \"02:de:00:00:00:01\" }]\n";
    let plan = lower(&judge(&text).unwrap()).unwrap();
    let macs: Vec<[u8; 6]> = plan
        .config
        .domains
        .iter()
        .flat_map(|domain| &domain.devices)
        .filter_map(|device| match device {
            hypervisor_core::config::Device::NetFront { mac, .. } => Some(*mac),
            _ => None,
        })
        .collect();
    let unique: std::collections::HashSet<_> = macs.iter().collect();
    assert_eq!((macs.len(), unique.len()), (4, 4));
}

#[test]
fn duplicate_names_are_refused() {
    says(
        &refusal("name = \"web\"", "name = \"driver\""),
        &["images/t.toml:17: domain[1].name", "two domains are named"],
    );
}

#[test]
fn more_memory_than_there_is_is_refused() {
    says(
        &refusal("memory = \"2M\"", "memory = \"60M\""),
        &["images/t.toml:20: domain[1].memory", "more memory than there is"],
    );
}

#[test]
fn a_machine_too_small_for_any_domain_is_to_blame() {
    says(
        &refusal("memory = \"64M\"", "memory = \"0M\""),
        &["images/t.toml:2: memory: more memory than there is", "nothing is left"],
    );
}

#[test]
fn a_key_that_is_there_twice_is_named() {
    says(
        &refusal("slice = \"5ms\"", "slice = \"5ms\"\nslice = \"6ms\""),
        &["images/t.toml:4: duplicate key \"slice\""],
    );
}

#[test]
fn a_path_that_is_no_scenario_is_named_as_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let given = |path: &Path| {
        let name = path.to_string_lossy().into_owned();
        (Scenario::open(Path::new("/repo"), &name).unwrap_err().to_string(), name)
    };
    let (message, name) = given(folder.path());
    says(&message, &[&format!("{name}: cannot be read: it is a folder")]);
    let file = folder.path().join("text");
    std::fs::write(&file, GOOD).unwrap();
    let (message, name) = given(&file);
    says(&message, &[&format!("{name}: cannot be read: the path of a scenario ends in .toml")]);
}

#[test]
fn a_machine_larger_than_its_host_is_refused() {
    let scenario = judge(GOOD).unwrap();
    scenario.check_host(64 << 20).unwrap();
    let message = scenario.check_host((64 << 20) - 1).unwrap_err().to_string();
    says(&message, &["images/t.toml:2: memory", "more memory than there is"]);
}

#[test]
fn a_back_end_that_does_not_exist_is_refused() {
    says(
        &refusal("backend = \"driver\"", "backend = \"drvier\""),
        &["images/t.toml:25: domain[1].net[0].backend", "drvier"],
    );
}

#[test]
fn a_ring_without_kernels_is_refused_by_name() {
    for ring in [0, 2, 4] {
        says(
            &refusal("ring = 3", &format!("ring = {ring}")),
            &["images/t.toml:11: domain[0].ring", "ring 1 or 3"],
        );
    }
    judge(&GOOD.replacen("ring = 3", "ring = 1", 1)).unwrap();
}

#[test]
fn a_subject_that_does_not_exist_is_refused() {
    says(&refusal("subject = \"web\"", "subject = \"wbe\""), &["images/t.toml:4: subject", "wbe"]);
}

#[test]
fn a_scenario_that_does_not_exist_is_answered_with_those_that_do() {
    let message = Scenario::open(&crate::paths::root(), "no-such").unwrap_err().to_string();
    says(&message, &["no-such.toml", "hello"]);
}

#[test]
fn every_shipped_scenario_is_sound() {
    let root = crate::paths::root();
    for name in known(&root) {
        // The disk of this one is its user's to make.
        let disk = root.join("target/kv.img");
        if name == "kv" && !disk.exists() {
            std::fs::create_dir_all(root.join("target")).unwrap();
            std::fs::File::create(disk).unwrap().set_len(1 << 20).unwrap();
        }
        let scenario = Scenario::open(&root, &name).unwrap_or_else(|refusal| panic!("{refusal}"));
        scenario.check(&|_image| true).unwrap_or_else(|refusal| panic!("{refusal}"));
        lower(&scenario).unwrap();
    }
}

#[test]
fn a_domain_may_be_there_for_load_from_one_side_alone() {
    let names = |load| {
        let mut scenario = Scenario::open(&crate::paths::root(), "hostile").unwrap();
        scenario.keep(load);
        scenario.check(&|_| true).unwrap();
        let plan = lower(&scenario).unwrap();
        plan.config.domains.into_iter().map(|domain| domain.name).collect::<Vec<_>>()
    };
    let (host, inside) = (names(super::Load::Host), names(super::Load::Inside));
    assert!(!host.iter().any(|name| name == "client"));
    assert_eq!(inside.last().unwrap(), "client");
    assert_eq!(host.len() + 1, inside.len());
}
