//! A leader and its learners.
