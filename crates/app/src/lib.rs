//! What both binaries share as processes: settings, logging, admin HTTP, shutdown.
