//! For tests: raw client, process launcher, vectors, comparison with Java
