//! Who is a member, and what a quorum is.
