//! Front ends and back ends of disks that lie, each beside honest neighbours whose images the host looks at afterwards.
//! It exists because the drivers' own tests join them in one process, where no hypervisor stands between.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::disks::{SECTOR, SECTORS, domain, head, pattern, sum};
use super::judge::{number, plain, records};
use crate::paths;

/// Bytes of the part of an image that a good front end has, and of the one beside it that a bad one has.
const PART: usize = 512 << 10;
/// Front ends that lie: one that may write to a part of an image, one that may read an image, one over an overlay of it.
const LIARS: [&str; 3] = ["writer", "peeper", "over"];
/// Lives of a bad back end before it is a good one.
const LIVES: usize = 2;
/// Lines that one culprit may cause, however often it is caught: each second one stands for as many as all before.
const LINES_MAX: usize = 16;

/// Bad front ends on one driver domain with good ones, for so many seeds and so many milliseconds each.
pub(super) fn fronts(seeds: u32, life_ms: u32) -> Result<String> {
    let (mut requests, mut ended, mut work) = (0.0, 0.0, 0.0);
    for seed in 1..=seeds {
        let run = Run::new("bad-fronts", &[("shared", 4 * PART), ("base", SECTORS * SECTOR)])?;
        let (shared, base) = (run.image("shared"), run.image("base"));
        let good = format!("image = \"disk\"\nmemory = \"2M\"\ncommand_line = \"work_ms={life_ms}\"");
        let bad = format!(
            "image = \"bad-front\"\nmemory = \"2M\"\ncommand_line = \"seed={{seed}} life_ms={life_ms}\""
        );
        let text = domain("driver", "image = \"driver-domain\"\nmemory = \"16M\"")
            + &domain("calm", &format!("{good}\n{}", disk("driver", &shared, "\"w\", size = \"512K\"")))
            + &domain("reader", &format!("{good}\n{}", disk("driver", &base, "\"r\"")))
            + &domain(
                "writer",
                &format!("{bad}\n{}", disk("driver", &shared, "\"w\", offset = \"512K\", size = \"512K\"")),
            )
            + &domain("peeper", &format!("{bad}\n{}", disk("driver", &base, "\"r\"")))
            + &domain("over", &format!("{bad}\n{}", disk("driver", &base, "\"w\", overlay = \"256K\"")));
        let output = run.go(&text, seed)?;
        let now = fs::read(&shared).context("reading an image")?;
        let old = run.old("shared")?;
        work += untouched(&output, "calm", &now[..PART])?;
        work += untouched(&output, "reader", &run.old("base")?)?;
        ensure!(
            now[2 * PART..] == old[2 * PART..],
            "seed {seed}: something was written behind a bad front end's part"
        );
        ensure!(
            fs::read(&base).context("reading an image")? == run.old("base")?,
            "seed {seed}: the base has changed"
        );
        for name in LIARS {
            let said = record(&output, name, "@bad_front")?;
            requests += number(&said, "/requests")?;
            let caught = number(&said, "/ended")?;
            ended += caught;
            ensure!(number(&said, "/connections")? > 0.0, "seed {seed}: {name} was never connected: {said}");
            ensure!(said["served"] == true, "seed {seed}: {name} behaves and is not served: {said}");
            let told = output.lines().filter(|line| line.contains(&format!("disk 0 of {name} is cut off")));
            let told = told.count();
            ensure!(told <= LINES_MAX, "seed {seed}: {told} lines about {name}");
            ensure!(
                caught == 0.0 || told > 0,
                "seed {seed}: {name} was cut off {caught} times and nobody told"
            );
        }
    }
    ensure!(ended >= f64::from(seeds), "only {ended} connections were ended: nothing was found out");
    Ok(format!(
        "seeds 1 to {seeds}: {requests} requests, {ended} connections ended; {work} operations beside, none failed"
    ))
}

/// A back end that lies beside a good one, for so many seeds, in two lives of so many milliseconds each; then it is a good
/// one, and what is on the disks is what its front ends wrote.
pub(super) fn back(seeds: u32, life_ms: u32) -> Result<String> {
    let (mut lies, mut broken, mut work) = (0.0, 0, 0.0);
    for seed in 1..=seeds {
        let images = ["beside", "first", "second"];
        let run = Run::new("bad-back", &images.map(|name| (name, SECTORS * SECTOR)))?;
        let until = life_ms * 3;
        let guest = |name: &str, back: &str| {
            let good = format!("image = \"disk\"\nmemory = \"2M\"\ncommand_line = \"work_ms={until}\"");
            domain(name, &format!("{good}\n{}", disk(back, &run.image(name), "\"w\"")))
        };
        let liar = format!(
            "image = \"bad-back\"\nmemory = \"16M\"\ncommand_line = \"seed={{seed}} life_ms={life_ms} lives={LIVES}\""
        );
        let text = domain("driver", "image = \"driver-domain\"\nmemory = \"16M\"")
            + &domain("liar", &liar).replace("\"destroy\"", "\"restart\"")
            + &guest("beside", "driver")
            + &guest("first", "liar")
            + &guest("second", "liar");
        let output = run.go(&text, seed)?;
        let image = |name| fs::read(run.image(name)).context("reading an image");
        work += untouched(&output, "beside", &image("beside")?)?;
        for name in ["first", "second"] {
            record(&output, name, "@work")?;
            checked(&output, name, &image(name)?).with_context(|| format!("seed {seed}, after the lies"))?;
            let told = output.lines().filter(|line| {
                line.starts_with(&format!("{name}| ")) && line.contains("a connection to liar broke")
            });
            let told = told.count();
            ensure!(told > 0, "seed {seed}: {name} said nothing of what was done to it:\n{output}");
            ensure!(told <= LINES_MAX, "seed {seed}: {told} lines of {name}");
            broken += told;
        }
        let lives: Vec<Value> = records(&output, "liar", "@bad_back")?;
        ensure!(lives.len() == LIVES, "seed {seed}: {} lives of {LIVES}", lives.len());
        for life in &lives {
            lies += number(life, "/lies")?;
            ensure!(number(life, "/connections")? > 0.0, "seed {seed}: nobody connected: {life}");
        }
    }
    ensure!(lies >= f64::from(10 * seeds), "only {lies} lies");
    Ok(format!(
        "seeds 1 to {seeds}: {lies} lies, {broken} reports; {work} operations beside, none failed; all images right"
    ))
}

/// A good neighbour saw no error at all, and its image is what it wrote; how many operations it made.
fn untouched(output: &str, name: &str, image: &[u8]) -> Result<f64> {
    let work = record(output, name, "@work")?;
    for key in ["/failed", "/gone", "/wrong"] {
        ensure!(number(&work, key)? == 0.0, "{name} suffers from its neighbours: {work}");
    }
    let operations = number(&work, "/operations")?;
    ensure!(operations >= 50.0, "{name} hardly got on: {work}");
    checked(output, name, image)?;
    Ok(operations)
}

/// Every check of a guest held, and the image is what it read last.
fn checked(output: &str, name: &str, image: &[u8]) -> Result<()> {
    let disk = record(output, name, "@disk")?;
    ensure!(disk["good"] == disk["of"], "{name}: not every check held: {disk}");
    ensure!(disk["sum"] == sum(image), "{name} saw another image than there is: {disk}");
    Ok(())
}

fn record(output: &str, name: &str, kind: &str) -> Result<Value> {
    records(output, name, kind)?.pop().with_context(|| format!("{name} said no {kind}:\n{output}"))
}

fn disk(backend: &str, image: &Path, mode: &str) -> String {
    format!("disk = [{{ backend = \"{backend}\", image = {image:?}, mode = {mode} }}]")
}

/// One boot, with its images.
struct Run {
    name: &'static str,
    folder: PathBuf,
    images: Vec<(String, usize)>,
}

impl Run {
    fn new(name: &'static str, images: &[(&str, usize)]) -> Result<Self> {
        let folder = paths::run("suite").join(name);
        fs::create_dir_all(&folder).context("making a folder for disks")?;
        let images = images.iter().map(|(image, bytes)| ((*image).to_owned(), *bytes)).collect();
        let run = Self { name, folder, images };
        for (image, _) in &run.images {
            fs::write(run.image(image), run.old(image)?).context("writing an image")?;
        }
        Ok(run)
    }

    fn image(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("img")
    }

    /// What was on an image before.
    fn old(&self, name: &str) -> Result<Vec<u8>> {
        let (_, bytes) =
            self.images.iter().find(|(image, _)| image == name).context("an image of this name")?;
        Ok(pattern(*bytes, *bytes as u64))
    }

    /// Runs these domains to their end; every audit holds.
    fn go(&self, domains: &str, seed: u32) -> Result<String> {
        let path = self.folder.join("scenario.toml");
        let text = head("Disks with a bad end", "128M") + "seed = 1\n" + domains;
        fs::write(&path, text).context("writing a scenario")?;
        let (path, seed) = (path.to_string_lossy(), seed.to_string());
        let output = plain(self.name, &["run", &path, "--icount", "--seed", &seed, "--seconds", "60"])?;
        let audits = output.lines().filter(|line| line.starts_with("@audit ")).count();
        ensure!(audits > 0 && !output.contains("\"ok\":false"), "seed {seed}: an audit failed:\n{output}");
        Ok(output)
    }
}
