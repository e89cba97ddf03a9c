//! The differential run by hand: `zkdiff --ops 100000 --seed 1`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use zk_testkit::diff::{self, Plan, generate};
use zk_testkit::process::launcher;

const USAGE: &str =
    "usage: zkdiff [--ops N] [--seed N] [--seeds N] [--against java|zkd] [--reference java|zkd]
              [--without feature,...] [--window N] [--line key=value] [--property key=value]
              [--shrink TRIES] [--forgive N] [--print] [--known]

  --ops N        operations of each run (100000)
  --seed N       seed of the first run (1)
  --seeds N      number of runs, with seeds that count up (1)
  --against S    the server that is compared with the reference (zkd)
  --reference S  the reference (java)
  --without F    leaves features out of the stream
  --window N     most requests of a random window
  --line K=V     a line of both servers' zoo.cfg
  --property K=V a system property of both servers
  --shrink N     tries to cut a difference down (0)
  --forgive N    goes on behind N differences (0)
  --print        prints the steps and runs nothing
  --known        prints the named differences and the features";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("zkdiff: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let (mut ops, mut seed, mut seeds, mut tries) = (100_000_usize, 1_u64, 1_u64, 0_usize);
    let (mut subject, mut reference) = ("zkd".to_owned(), "java".to_owned());
    let mut without = BTreeSet::new();
    let mut print = false;
    let mut config = diff::config();
    let mut forgive = 0;
    let mut settings = String::new();
    let mut window = usize::MAX;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--ops" => ops = value()?.parse()?,
            "--seed" => seed = value()?.parse()?,
            "--seeds" => seeds = value()?.parse()?,
            "--against" => subject = value()?,
            "--reference" => reference = value()?,
            "--without" => without.extend(value()?.split(',').map(str::to_owned)),
            "--shrink" => tries = value()?.parse()?,
            "--forgive" => forgive = value()?.parse()?,
            "--window" => {
                window = value()?.parse()?;
                settings.push_str(&format!(" --window {window}"));
            }
            "--line" | "--property" => {
                let text = value()?;
                let (k, v) = text.split_once('=').with_context(|| format!("{arg} needs key=value"))?;
                config = if arg == "--line" { config.line(k, v) } else { config.property(k, v) };
                settings.push_str(&format!(" {arg} {text}"));
            }
            "--print" => print = true,
            "--known" => {
                for (name, why) in diff::KNOWN {
                    println!("{name}: {why}");
                }
                println!("features: {}", generate::FEATURES.join(" "));
                return Ok(true);
            }
            other => bail!("unknown argument {other}\n{USAGE}"),
        }
    }
    if let Some(f) = without.iter().find(|f| !generate::FEATURES.contains(&f.as_str())) {
        bail!("no feature {f}: {}", generate::FEATURES.join(" "));
    }
    let (reference, subject) = (launcher(&reference)?, launcher(&subject)?);
    let mut all_equal = true;
    for seed in seed..seed + seeds {
        let plan = Plan {
            seed,
            operations: ops,
            without: without.clone(),
            window,
            config: config.clone(),
            progress: true,
            forgive,
        };
        if print {
            let mut generator = generate::Generator::new(seed, &without, window);
            let (mut n, mut done) = (0, 0);
            while done < ops {
                let step = generator.step();
                done += step.operations();
                println!("{}", diff::show_step(n, &step));
                n += 1;
            }
            continue;
        }
        match diff::run(reference, subject, &plan)? {
            Ok(r) => println!(
                "seed {seed}: no difference in {} operations ({} steps, {} replies of which {} good, {} events); \
                 zxid {:#x}, {} nodes; {:.1} s, {:.0} operations/s",
                r.operations,
                r.steps,
                r.replies,
                r.good,
                r.events,
                r.zxid,
                r.nodes,
                r.time.as_secs_f64(),
                r.operations as f64 / r.time.as_secs_f64()
            ),
            Err(d) => {
                all_equal = false;
                let list: Vec<&str> = without.iter().map(String::as_str).collect();
                let mut replay = format!(
                    "cargo run -p zk-testkit --bin zkdiff -- --ops {ops} --seed {seed} --reference {} --against {}",
                    reference.name(),
                    subject.name()
                );
                if !list.is_empty() {
                    replay.push_str(&format!(" --without {}", list.join(",")));
                }
                replay.push_str(&settings);
                println!("seed {seed}: {}", diff::explain(&d, &replay));
                if tries > 0 {
                    let small =
                        diff::shrink(reference, subject, &config, *d, tries, Duration::from_secs(600))?;
                    println!("cut down: {}", diff::explain(&small, &replay));
                }
            }
        }
    }
    Ok(all_equal)
}
