//! The tokio shell: sockets, threads, timers
