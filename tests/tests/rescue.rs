//! A connect() whose SYN is on its way to a master that has just died succeeds all the same, on another master.
//!
//! At default settings of health, and with connections in turn, so that every third meets the dead one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

mod rescue {
    mod capabilities;
    mod faults;
    mod life;
    mod others;
    mod pace;
    mod without_agent;
}
