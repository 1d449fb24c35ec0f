//! Tests that need heavy dependencies: librdkafka and S3 against the real binaries.
