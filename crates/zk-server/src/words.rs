//! Four-letter words: collects what they print. The texts are zk-admin's.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use zk_admin::status::{Mode, Serving};
use zk_admin::{Answer, Status, Word, answer};

use crate::collect;
use crate::conn::Conn;
use crate::shared::Shared;
use crate::worker::{ToWorker, Worker};

/// Answers a word, then closes. `mask` comes with `stmk`.
pub fn start(worker: Rc<Worker>, conn: Rc<Conn>, word: Word, mask: Option<i64>) {
    tokio::task::spawn_local(async move {
        let text = match collect(&worker.shared, word, mask).await {
            Answer::Text(text) => text,
            Answer::Close => String::new(),
        };
        // ref: NIOServerCnxn.sendBuffer, which counts every answer.
        worker.count_sent(u64::from(!text.is_empty()));
        let mut i = conn.inner.borrow_mut();
        i.out.extend_from_slice(text.as_bytes());
        i.closing = true;
        drop(i);
        conn.flush();
    });
}

async fn collect(shared: &Arc<Shared>, word: Word, mask: Option<i64>) -> Answer {
    use crate::shared::Serving::{Held, No, ReadOnly};
    let whitelist = &shared.live.words();
    let mut status = Status::not_serving(shared.settings.version.clone());
    if !whitelist.allows(word) {
        return answer(word, whitelist, &status);
    }
    match word {
        Word::Stmk => shared.trace_mask.store(mask.unwrap_or_default(), Ordering::Relaxed),
        Word::Crst => collect::tell_all(shared, || ToWorker::ResetConnections),
        Word::Srst => collect::tell_all(shared, || ToWorker::ResetServer),
        _ => {}
    }
    status.trace_mask = shared.trace_mask.load(Ordering::Relaxed);
    if word.needs().environment {
        status.environment = collect::environment();
    }
    status.serving = match word {
        Word::Ruok | Word::Envi | Word::Gtmk | Word::Stmk | Word::TelnetClose => None,
        _ if matches!(shared.serving(), Held | No) => None,
        Word::Crst | Word::Srst => Some(Serving::default()),
        Word::Isro if shared.serving() == ReadOnly => {
            Some(Serving { mode: Mode::ReadOnly, ..Serving::default() })
        }
        Word::Isro => Some(Serving::default()),
        _ => collect::serving(shared, word.needs(), collect::Wants::ARole).await,
    };
    answer(word, whitelist, &status)
}
