//! The command line of both binaries: reads settings, calls the libraries, prints what they give.

pub mod cli;
pub mod commands;
pub mod exit;
mod open;
pub mod settings;
