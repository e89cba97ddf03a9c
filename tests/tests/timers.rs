//! Rows 64 and 66: containers and nodes with a time to live, reaped by a short
//! timer, on the reference and on zkd.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use zk_testkit::process::{Config, Server};
use zk_testkit::raw::Conn;
use zk_testkit::request::OPEN;

use crate::support::{Row, check_rows};

#[test]
fn row_66_reaping() {
    let rows: &[Row] = &[("row 66: containers", containers), ("row 66: times to live", times_to_live)];
    check_rows(&Config::default().property("znode.container.checkIntervalMs", 300), rows);
}

/// How long a timer may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn gone_within(c: &mut Conn, path: &str, wait: Duration) -> anyhow::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < wait {
        if c.exists(path, false)?.is_none() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(false)
}

fn containers(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 10_000)?;
    for name in ["/used", "/unused", "/full"] {
        let stat = c.create2(name, b"", OPEN, 4, None)?.1;
        ensure!(stat.ephemeral_owner == 0, "a client sees the mark of a container");
    }
    c.create("/full/x", b"", OPEN, 0)?;
    c.create("/used/x", b"", OPEN, 0)?;
    c.exists("/used", true)?;
    c.delete("/used/x", 0)?;
    ensure!(gone_within(&mut c, "/used", SOON)?, "an empty container stays");
    let event = c.events_so_far()?.pop().context("no event")?;
    ensure!(event.kind == 2 && event.path == "/used", "{event:?}");
    ensure!(c.exists("/unused", false)?.is_some(), "a container that was never used went");
    ensure!(c.exists("/full", false)?.is_some(), "a container with a child went");
    Ok(())
}

/// Setting data starts the clock again. False: this machine stood still for longer than a life, which
/// proves nothing.
fn renewed(c: &mut Conn) -> anyhow::Result<bool> {
    const LIFE: Duration = Duration::from_millis(2500);
    let mut last = Instant::now();
    c.create2("/renewed", b"", OPEN, 5, Some(2500))?;
    let began = last;
    while began.elapsed() < LIFE + Duration::from_millis(1500) {
        std::thread::sleep(Duration::from_millis(200));
        let now = Instant::now();
        match c.set_data("/renewed", b"again", -1) {
            Ok(_) => last = now,
            Err(_) if last.elapsed() >= LIFE && c.exists("/renewed", false)?.is_none() => return Ok(false),
            Err(error) => return Err(error.context("a node that is set again and again")),
        }
    }
    Ok(true)
}

fn times_to_live(server: &Server) -> anyhow::Result<()> {
    let mut c = Conn::open(server.addr(), 10_000)?;
    for (name, ttl) in [("/short", 700), ("/long", 3_600_000), ("/parent", 700)] {
        let stat = c.create2(name, b"", OPEN, 5, Some(ttl))?.1;
        ensure!(stat.ephemeral_owner == 0, "a client sees the mark of a time to live");
    }
    c.create("/parent/x", b"", OPEN, 0)?;
    ensure!(gone_within(&mut c, "/short", SOON)?, "a node outlives its time");
    while !renewed(&mut c)? {}
    ensure!(c.exists("/long", false)?.is_some() && c.exists("/parent", false)?.is_some());
    c.delete("/parent/x", 0)?;
    ensure!(gone_within(&mut c, "/parent", SOON)?, "an empty node outlives its time");
    ensure!(gone_within(&mut c, "/renewed", SOON)?, "the last setData keeps it for ever");
    Ok(())
}
