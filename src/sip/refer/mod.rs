//! refer
