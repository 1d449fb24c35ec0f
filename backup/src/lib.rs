//! Captures a registry and topics into an artefact.
