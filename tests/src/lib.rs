//! Tests with real processes and real sockets; see `tests/`.
