//! The command line of both binaries.
