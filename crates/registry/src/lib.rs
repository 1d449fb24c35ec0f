//! Schema Registry: model, client, reference graph.
