//! Runs seeds and scenarios: `zk-sim --seeds A..B --jobs N`, `zk-sim --seed N --trace`. With
//! `--hard` only the quarter of the seeds in which members change and disks are lost.

use zk_sim::Sim;

fn main() -> std::process::ExitCode {
    let mut seeds = 0..100u64;
    let (mut jobs, mut trace, mut hard, mut plant) = (1u64, false, false, None);
    let mut scenario = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        match arg.as_str() {
            "--seeds" => {
                let text = value();
                let (a, b) = text.split_once("..").unwrap_or(("0", &text));
                seeds = a.parse().unwrap_or(0)..b.parse().unwrap_or(100);
            }
            "--seed" => {
                let n = value().parse().unwrap_or(0);
                seeds = n..n + 1;
            }
            "--jobs" => jobs = value().parse().unwrap_or(1),
            "--plant" => plant = zk_sim::Plant::by_name(&value()),
            "--trace" => trace = true,
            "--hard" => hard = true,
            "--scenario" => scenario = Some(value()),
            _ => {
                eprintln!(
                    "zk-sim [--seeds A..B | --seed N] [--jobs N] [--hard] [--trace] [--plant NAME] | --scenario FILE"
                );
                return std::process::ExitCode::from(2);
            }
        }
    }
    if let Some(file) = scenario {
        let Ok(text) = std::fs::read_to_string(&file) else {
            eprintln!("cannot read {file}");
            return std::process::ExitCode::from(2);
        };
        let (result, trace) = zk_sim::scenario::run(&text, plant, trace);
        print!("{trace}");
        return match result {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(why) => {
                println!("{file}: {why}");
                std::process::ExitCode::FAILURE
            }
        };
    }
    let results: Vec<_> = std::thread::scope(|scope| {
        let run = |job: u64| {
            let seeds = seeds.clone();
            move || {
                let mut sum = Sum::default();
                let wanted = |s: &u64| s % jobs == job && (!hard || Sim::random(*s, false).is_hard());
                for seed in seeds.filter(wanted) {
                    sum.add(&zk_sim::run_seed(seed, plant, trace));
                }
                sum
            }
        };
        let threads: Vec<_> = (0..jobs).map(|job| scope.spawn(run(job))).collect();
        threads.into_iter().map(|t| t.join().expect("a run catches its panics")).collect()
    });
    let mut all = Sum::default();
    results.into_iter().for_each(|s| all.merge(s));
    println!(
        "{} seeds, {} violations, {:.2} simulated hours, {} transactions, {} epochs, \
         {} reconfigurations, {} hand-overs, {} lost disks, {} members helped, {} where nobody may lead, {} answers, {} events",
        all.seeds,
        all.violations,
        all.simulated as f64 / 3.6e9,
        all.committed,
        all.epochs,
        all.reconfigs,
        all.handovers,
        all.wipes,
        all.helped,
        all.stood_still,
        all.answers,
        all.events
    );
    if all.violations > 0 { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    violations: u64,
    simulated: u64,
    committed: usize,
    epochs: usize,
    reconfigs: usize,
    handovers: u64,
    wipes: u64,
    helped: u64,
    stood_still: u64,
    answers: u64,
    events: u64,
}

impl Sum {
    fn add(&mut self, r: &zk_sim::Report) {
        print!("{}", r.trace);
        if let Some(v) = &r.violation {
            println!("seed {}: {v}", r.seed);
            println!("  replay: cargo run -p zk-sim --release -- --seed {} --trace", r.seed);
        }
        self.seeds += 1;
        self.violations += u64::from(r.violation.is_some());
        self.simulated += r.simulated;
        self.committed += r.committed;
        self.epochs += r.epochs;
        self.reconfigs += r.reconfigs;
        self.handovers += r.handovers;
        self.wipes += r.wipes;
        self.helped += r.helped;
        self.stood_still += u64::from(r.stood_still);
        self.answers += r.answers;
        self.events += r.events;
    }

    fn merge(&mut self, o: Self) {
        self.seeds += o.seeds;
        self.violations += o.violations;
        self.simulated += o.simulated;
        self.committed += o.committed;
        self.epochs += o.epochs;
        self.reconfigs += o.reconfigs;
        self.handovers += o.handovers;
        self.wipes += o.wipes;
        self.helped += o.helped;
        self.stood_still += o.stood_still;
        self.answers += o.answers;
        self.events += o.events;
    }
}
