//! The start of an empty server.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use zk_testkit::process::{Config, Server, Zkd};
use zk_testkit::raw;

/// Goals of the issue: an empty server answers `ruok` in under 50 ms and idles
/// under 20 MB.
const RUOK: Duration = Duration::from_millis(50);
const IDLE: u64 = 20 << 20;

/// Starts on an empty directory five times; the median counts, since the
/// machine is shared.
pub fn run() -> Result<()> {
    let mut ruok = Vec::new();
    let mut again = Vec::new();
    let mut idle = 0;
    for _ in 0..5 {
        let mut server = Server::prepare(&Zkd, Config::default())?;
        ruok.push(until_ruok(&mut server)?);
        server.wait_until_serving()?;
        std::thread::sleep(Duration::from_millis(300));
        idle = idle.max(server.resident()?);
        server.stop()?;
        again.push(until_ruok(&mut server)?);
        server.kill()?;
    }
    ruok.sort();
    again.sort();
    println!("empty directory until ruok   median {:.1?}  worst {:.1?}  (goal {RUOK:?})", ruok[2], ruok[4]);
    println!("second start until ruok      median {:.1?}  worst {:.1?}  (goal {RUOK:?})", again[2], again[4]);
    println!("resident when idle           {:.1} MB  (goal {} MB)", idle as f64 / 1048576.0, IDLE >> 20);
    if idle >= IDLE {
        bail!("an idle server holds {idle} bytes");
    }
    if ruok[2] >= RUOK * 4 {
        bail!("an empty server takes {:?} until it answers", ruok[2]);
    }
    Ok(())
}

fn until_ruok(server: &mut Server) -> Result<Duration> {
    let start = Instant::now();
    server.spawn()?;
    loop {
        if raw::four_letter(server.addr(), "ruok").is_ok_and(|t| t == "imok") {
            return Ok(start.elapsed());
        }
        if start.elapsed() > Duration::from_secs(20) {
            bail!("no answer within 20 s:\n{}", server.log_tail());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
