//! `kill -9` at random moments under load; see `zk_testkit::crash`.
//!
//! `ZKD_CRASH_LOOPS` (10) crashes against `ZKD_CRASH_AGAINST` (zkd, or java to
//! show that the harness asks for nothing that the reference does not do),
//! from the seed `ZKD_CRASH_SEED` (1).

use zk_testkit::crash::{self, Plan};
use zk_testkit::process::launcher;

use crate::support::env;

#[test]
fn nothing_acknowledged_is_lost_in_a_crash() {
    let plan = Plan { seed: env("ZKD_CRASH_SEED", 1), loops: env("ZKD_CRASH_LOOPS", 10), writers: 16 };
    let against = env("ZKD_CRASH_AGAINST", "zkd".to_owned());
    let report = crash::run(launcher(&against).unwrap(), plan, true).unwrap_or_else(|e| panic!("{e:#}"));
    println!("{against}: {report:#?}");
    assert!(report.acknowledged > plan.loops * 100, "hardly any load: {report:?}");
}
