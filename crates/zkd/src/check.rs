//! `zkd config check`: what each line of a configuration does.

use std::path::Path;

use serde_json::json;
use zk_config::{Config, Effect, Level, Line, Loaded, Note};

use crate::{Exit, Failure, one_line, serve};

/// Says what a server would make of a file, and fails if none would start with it.
pub fn run(file: &Path, as_json: bool) -> Result<(), Failure> {
    let mut loaded = Config::load(file, &serve::env()).map_err(anyhow::Error::new);
    if let Ok(loaded) = &mut loaded
        && let Some(text) = zk_server::missing(&loaded.config)
    {
        loaded.notes.push(Note { level: Level::Warn, origin: None, text });
    }
    let refused = match &loaded {
        Err(e) => Some(one_line(e)),
        Ok(loaded) => zk_server::check(&loaded.config).err().map(|e| format!("{}: {e}", file.display())),
    };
    let loaded = loaded.ok();
    if as_json {
        println!("{:#}", report(file, loaded.as_ref(), refused.as_deref()));
    } else if let Some(loaded) = &loaded {
        print!("{}", table(loaded));
    }
    match refused {
        None => {
            let warnings = loaded.map_or(0, |l| l.notes.iter().filter(|n| n.level == Level::Warn).count());
            if !as_json {
                println!("{}: valid, {warnings} warnings", file.display());
            }
            Ok(())
        }
        Some(text) => Err(Failure::new(Exit::Invalid, anyhow::Error::msg(text))),
    }
}

fn report(file: &Path, loaded: Option<&Loaded>, refused: Option<&str>) -> serde_json::Value {
    let line = |l: &Line| {
        json!({
            "place": l.origin.to_string(), "key": l.key, "value": l.value, "effect": l.effect.word(),
            "text": l.text, "changes_while_running": l.live,
        })
    };
    let note = |n: &Note| {
        json!({
            "level": level(n), "text": n.text, "place": n.origin.as_ref().map(ToString::to_string),
        })
    };
    json!({
        "file": file.display().to_string(),
        "valid": refused.is_none(),
        "error": refused,
        "lines": loaded.map(|l| l.lines.iter().map(line).collect::<Vec<_>>()).unwrap_or_default(),
        "notes": loaded.map(|l| l.notes.iter().map(note).collect::<Vec<_>>()).unwrap_or_default(),
    })
}

fn level(note: &Note) -> &'static str {
    match note.level {
        Level::Warn => "warning",
        Level::Info => "note",
    }
}

/// One row a line, and below it what there is to say besides.
fn table(loaded: &Loaded) -> String {
    let rows: Vec<[String; 4]> = loaded
        .lines
        .iter()
        .map(|l| {
            let live = if l.live && l.effect == Effect::Used { " (changes while running)" } else { "" };
            let setting = format!("{}={}", l.key, l.value);
            [l.origin.to_string(), setting, l.effect.word().to_owned(), format!("{}{live}", l.text)]
        })
        .collect();
    // A value of any length pushes only its own row.
    const WIDEST: usize = 60;
    let width = |column: usize| {
        let widths = rows.iter().map(|r| r[column].chars().count()).filter(|w| *w <= WIDEST);
        widths.max().unwrap_or(0)
    };
    let (place, setting, effect) = (width(0), width(1), width(2));
    let mut out = String::new();
    for [a, b, c, d] in &rows {
        out.push_str(&format!("{a:place$}  {b:setting$}  {c:effect$}  {d}\n"));
    }
    for note in loaded.notes.iter().filter(|n| !said(n, &loaded.lines)) {
        out.push_str(&format!("{}: {note}\n", level(note)));
    }
    out
}

/// Whether a row says it already.
fn said(note: &Note, lines: &[Line]) -> bool {
    note.level == Level::Info
        && lines.iter().any(|l| note.origin.as_ref() == Some(&l.origin) && note.text.ends_with(&l.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_for_each_line() {
        let text = "dataDir=/d\nclientPort=2181\nclientPort=2182\n# comment\nnio.numWorkerThreads=4\nsyncLimit=2\n\
                    maxClientCnxns=5\nsnapCont=1\nssl.keyStore.password=hush\n";
        let loaded = zk_config::parse_bytes(text.as_bytes()).expect("valid");
        let shown = table(&loaded);
        let expected = "\
zoo.cfg:1  dataDir=/d               used       directory of data, of snapshots and of myid
zoo.cfg:2  clientPort=2181          replaced   zoo.cfg:3 counts
zoo.cfg:3  clientPort=2182          used       port for clients
zoo.cfg:5  nio.numWorkerThreads=4   no effect  zkd sizes its threads itself
zoo.cfg:6  syncLimit=2              no effect  the server stands alone
zoo.cfg:7  maxClientCnxns=5         used       connections from one address; 0 is no limit (changes while running)
zoo.cfg:8  snapCont=1               unknown    no ZooKeeper knows this key
";
        assert!(shown.starts_with(expected), "{shown}");
        assert!(
            !shown.contains("hush") && shown.contains("warning: zoo.cfg:8: snapCont is not a key"),
            "{shown}"
        );
        let json = report(Path::new("zoo.cfg"), Some(&loaded), None);
        assert_eq!(json["lines"][5]["changes_while_running"], true);
        assert_eq!((&json["valid"], &json["lines"][1]["effect"]), (&json!(true), &json!("replaced")));
    }
}
