//! A follower or an observer.
