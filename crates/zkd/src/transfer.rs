//! `zkd import` and `zkd export`.

use zk_config::Config;
use zk_storage::{Compression, StorageConfig, StorageError};

use crate::cli::{DataArgs, ExportArgs, ImportArgs, Packing};
use crate::progress::Terminal;
use crate::{Exit, Failure, serve};

/// Fills an empty directory from one of Java's.
pub fn import(args: &ImportArgs) -> Result<(), Failure> {
    let to = storage(&args.data)?;
    let from =
        StorageConfig { data_dir: args.from.clone(), log_dir: args.from_log_dir.clone(), ..to.clone() };
    let mut terminal = Terminal::new();
    let report = zk_storage::import(&from, &to, &mut |p| terminal.show(p)).map_err(unusable)?;
    drop(terminal);
    for text in &report.passed_over {
        eprintln!("zkd: passed over: {text}");
    }
    if report.digest_mismatches > 0 {
        eprintln!("zkd: warning: {} transactions of the log do not fit the tree", report.digest_mismatches);
    }
    println!("{} imported to {}, start with it as dataDir", args.from.display(), to.data_dir.display());
    Ok(())
}

/// Writes a directory that Java starts on.
pub fn export(args: &ExportArgs) -> Result<(), Failure> {
    let from = storage(&args.data)?;
    let compression = match args.compression {
        Packing::None => Compression::None,
        Packing::Gz => Compression::Gzip,
        Packing::Snappy => Compression::Snappy,
    };
    let mut terminal = Terminal::new();
    let path =
        zk_storage::export(&from, &args.out, compression, &mut |p| terminal.show(p)).map_err(unusable)?;
    drop(terminal);
    println!("{} written; start Java with {} as dataDir", path.display(), args.out.display());
    Ok(())
}

fn unusable(error: StorageError) -> Failure {
    Failure::new(Exit::Data, error)
}

/// The directories that the arguments or a `zoo.cfg` name.
pub fn storage(args: &DataArgs) -> Result<StorageConfig, Failure> {
    let loaded = match &args.config {
        Some(file) => Config::load(file, &serve::env()),
        None => Config::standalone(&serve::env()),
    };
    let mut config = loaded.map_err(|e| Failure::new(Exit::Invalid, e))?.config;
    if let Some(dir) = &args.data_dir {
        config.storage.data_dir.clone_from(dir);
        config.storage.data_log_dir.clone_from(dir);
    }
    if let Some(dir) = &args.log_dir {
        config.storage.data_log_dir.clone_from(dir);
    }
    let mut storage = zk_server::storage_config(&config);
    // Nothing says whether the other server has extendedTypesEnabled. Without it
    // nodes with a time to live look like ephemerals of unknown sessions, and
    // would be left out; with it no session is mistaken, since ids that begin
    // with 0xff belong to no server's number in use.
    storage.tree.extended_types = true;
    Ok(storage)
}
