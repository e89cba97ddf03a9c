//! What processes use of the machine, and what its disk can do just now.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::stat;

/// What processes have used up to now.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// When this was.
    pub when: Instant,
    /// Processor time.
    pub cpu: Duration,
    /// Memory that is resident now, in bytes.
    pub resident: u64,
    /// Bytes that they wrote to files, as the kernel counts them: whole folios, which may be a megabyte for a
    /// write of a hundred bytes into a file that was written in one piece before.
    pub written: u64,
    /// Bytes that their disk has written, for all processes of the machine.
    pub disk: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Usage { when: Instant::now(), cpu: Duration::ZERO, resident: 0, written: 0, disk: 0 }
    }
}

/// The sum over processes, and their disk.
pub fn usage(pids: &[u32], home: &Path) -> Result<Usage> {
    let start = Usage { disk: disk_written(home)?, ..Usage::default() };
    pids.iter().try_fold(start, |sum, pid| {
        let one = of(*pid).with_context(|| format!("process {pid}"))?;
        Ok(Usage {
            when: sum.when,
            disk: sum.disk,
            cpu: sum.cpu + one.cpu,
            resident: sum.resident + one.resident,
            written: sum.written + one.written,
        })
    })
}

fn of(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may contain anything; fields are counted behind it.
    let (_, behind) = stat.rsplit_once(") ").context("no name in stat")?;
    let field =
        |n: usize| -> Result<u64> { Ok(behind.split_whitespace().nth(n).context("stat is short")?.parse()?) };
    let ticks = field(11)? + field(12)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    Ok(Usage {
        when: Instant::now(),
        cpu: Duration::from_millis(ticks * 10),
        resident: number(&status, "VmRSS:")? * 1024,
        written: number(&io, "write_bytes:")?,
        disk: 0,
    })
}

fn number(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}

/// What an append of 512 bytes with fdatasync takes now, in the middle of a hundred: writes cannot be faster.
pub fn fdatasync(dir: &Path) -> Result<Duration> {
    let path = dir.join("fdatasync-probe");
    let mut file = File::create(&path)?;
    file.write_all(&[0; 64 << 10])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        file.write_all(&[1; 512])?;
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    fs::remove_file(&path)?;
    times.sort();
    Ok(times[times.len() / 2])
}

/// Bytes that the disk of a directory has written up to now.
fn disk_written(dir: &Path) -> Result<u64> {
    /// What the kernel calls a sector, whatever the disk has.
    const SECTOR: u64 = 512;
    let device = stat(dir)?.st_dev;
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))?;
    let sectors: u64 = text.split_whitespace().nth(6).context("the disk's stat is short")?.parse()?;
    Ok(sectors * SECTOR)
}

/// Takes as many open files as the system lets this process have; its children inherit them.
pub fn raise_files() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Live bytes of a JVM's heap: what is left behind a full collection.
pub fn live_heap(pid: u32) -> Result<u64> {
    let jcmd = |command: &str| -> Result<String> {
        let out = Command::new("jcmd")
            .args([&pid.to_string(), command])
            .output()
            .context("jcmd, which is part of a JDK")?;
        ensure!(out.status.success(), "jcmd {command}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    jcmd("GC.run")?;
    let text = jcmd("GC.heap_info")?;
    let used =
        text.split("used ").nth(1).and_then(|t| t.split('K').next()).context("no heap in jcmd's answer")?;
    Ok(used.parse::<u64>().with_context(|| text.clone())? * 1024)
}

/// The machine in a line.
pub fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = number(&memory, "MemTotal:").unwrap_or(0) >> 20;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} x {model}, {memory} GiB, Linux {}", kernel.trim())
}

/// Processes that want to run, in the mean of the last minute.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|w| w.parse().ok()).unwrap_or(0.0)
}
