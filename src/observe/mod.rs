//! What operators see of a running Baton beside records and metrics: its log.

pub mod log;
