//! A snapshot of a running server, and its way back: the two commands of the admin port that are
//! more than an answer.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};
use zk_proto::Zxid;
use zk_storage::Compression;
use zk_tree::{Tree, TreeOptions};

use crate::core_loop::Control;
use crate::limits;
use crate::shared::Shared;

/// A snapshot file in its place among the others.
#[derive(Debug)]
pub struct Taken {
    /// Its last transaction.
    pub zxid: Zxid,
    /// Its size in bytes.
    pub size: u64,
    file: File,
}

impl Taken {
    /// Reads it piece by piece, as fast as whoever asked takes them.
    pub fn stream(self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, pieces) = mpsc::channel(limits::ADMIN_CHUNKS);
        let mut file = self.file;
        tokio::task::spawn_blocking(move || {
            loop {
                let mut piece = vec![0; limits::ADMIN_CHUNK];
                let read = match file.read(&mut piece) {
                    Ok(0) => return,
                    Ok(n) => {
                        piece.truncate(n);
                        Ok(Bytes::from(piece))
                    }
                    Err(e) => Err(e),
                };
                let failed = read.is_err();
                if sender.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        pieces
    }
}

/// Writes a snapshot of what is applied, beside the work.
pub async fn take(shared: &Shared) -> Result<Taken, String> {
    let (reply, taken) = oneshot::channel();
    shared.control.try_send(Control::Snapshot(reply)).map_err(|_| "the core is too busy".to_owned())?;
    let path = taken.await.map_err(|_| "the server stops".to_owned())??;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let zxid = name.split('.').nth(1).and_then(|hex| i64::from_str_radix(hex, 16).ok());
    let zxid = Zxid(zxid.ok_or_else(|| format!("{name} is no name of a snapshot"))?);
    let file = File::open(&path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    let size = file.metadata().map_err(|e| format!("cannot look at {}: {e}", path.display()))?.len();
    Ok(Taken { zxid, size, file })
}

/// Puts the state of a snapshot in the place of the present one. Until the whole of it has been
/// read and found sound, nothing changes.
pub async fn restore(shared: &Arc<Shared>, body: Incoming) -> Result<Zxid, String> {
    let place =
        Place::make(&shared.settings.data_dir).map_err(|e| format!("cannot take the snapshot: {e}"))?;
    let path = receive(&place, body).await?;
    let options = shared.tree.read().options();
    let loaded = tokio::task::spawn_blocking(move || load(&path, options)).await;
    let tree = loaded.map_err(|_| "the server stops".to_owned())??;
    drop(place);
    let (reply, done) = oneshot::channel();
    let message = Control::Restore(Box::new(tree), reply);
    shared.control.try_send(message).map_err(|_| "the core is too busy".to_owned())?;
    done.await.map_err(|_| "the server stops".to_owned())
}

/// A directory beside the data, so that the disk that will hold the state takes it. It goes when
/// this is dropped; what a crash leaves is removed by the next restore.
struct Place(PathBuf);

impl Place {
    fn make(data_dir: &Path) -> io::Result<Self> {
        let dir = data_dir.join("restore.tmp");
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::create_dir_all(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            tracing::warn!("{} stays: {e}", self.0.display());
        }
    }
}

/// Writes the body to a file whose name says how it is packed, as the loader wants it.
async fn receive(place: &Place, mut body: Incoming) -> Result<PathBuf, String> {
    let failed = |e: io::Error| format!("cannot write the snapshot: {e}");
    let plain = place.0.join("snapshot.0");
    let mut file = tokio::fs::File::create(&plain).await.map_err(failed)?;
    let mut head = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("the body ended early: {e}"))?;
        let Ok(piece) = frame.into_data() else { continue };
        if head.len() < HEAD {
            head.extend(piece.iter().take(HEAD - head.len()));
        }
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    let path = match packed(&head) {
        Compression::None => return Ok(plain),
        Compression::Gzip => plain.with_extension("0.gz"),
        Compression::Snappy => plain.with_extension("0.snappy"),
    };
    fs::rename(&plain, &path).map_err(failed)?;
    Ok(path)
}

/// Enough of a file to tell how it is packed.
const HEAD: usize = 8;

/// differs: Java reads plain files only, though it sends packed ones if it writes them.
fn packed(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', ..] => Compression::Snappy,
        _ => Compression::None,
    }
}

fn load(path: &Path, options: TreeOptions) -> Result<Tree, String> {
    zk_storage::load_foreign(path, options).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_files_are_known_by_their_beginning() {
        assert_eq!(packed(b"ZKSN\0\0\0\x02"), Compression::None);
        assert_eq!(packed(&[0x1f, 0x8b, 8]), Compression::Gzip);
        assert_eq!(packed(b"\x82SNAPPY\0"), Compression::Snappy);
        assert_eq!(packed(b""), Compression::None);
    }
}
