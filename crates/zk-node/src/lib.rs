//! One member of an ensemble as one state machine.
