//! How a learner is brought to the leader's state.
