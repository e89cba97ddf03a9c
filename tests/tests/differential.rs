//! The same random requests to Java and to zkd; see `zk_testkit::diff`.
//!
//! `ZKD_DIFF_OPS` operations (100,000) from the seed `ZKD_DIFF_SEED` (1),
//! against `ZKD_DIFF_AGAINST` (zkd, or java to see the noise of the harness).

use std::collections::BTreeSet;

use zk_testkit::diff::{self, Plan};
use zk_testkit::process::{Java, launcher};

use crate::support::env;

#[test]
fn java_and_zkd_answer_the_same() {
    let plan = Plan {
        seed: env("ZKD_DIFF_SEED", 1),
        operations: env("ZKD_DIFF_OPS", 100_000),
        without: BTreeSet::new(),
        window: usize::MAX,
        config: diff::config(),
        progress: true,
        forgive: 0,
    };
    let against = env("ZKD_DIFF_AGAINST", "zkd".to_owned());
    match diff::run(&Java, launcher(&against).unwrap(), &plan).unwrap_or_else(|e| panic!("{e:#}")) {
        Ok(report) => println!("{report:#?}"),
        Err(d) => {
            let replay = format!(
                "cargo run -p zk-testkit --bin zkdiff -- --ops {} --seed {} --against {against} --shrink 40",
                plan.operations, plan.seed
            );
            panic!("{}", diff::explain(&d, &replay));
        }
    }
}
