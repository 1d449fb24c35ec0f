"""Confluent's own serializers as producer and consumer.

clients.py produce BOOTSTRAP REGISTRY NOTE   writes records of each schema type in each codec
clients.py headers BOOTSTRAP REGISTRY NOTE   the same with the schemas' GUIDs in headers
clients.py consume BOOTSTRAP REGISTRY COUNT  reads and decodes COUNT records, one JSON line each
"""

import base64
import json
import sys
import time
import uuid

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import (
    RegisteredSchema,
    Schema,
    SchemaRegistryClient,
    header_schema_id_serializer,
    prefix_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
EACH = 20


def shipment_class():
    """The class that protoc would generate for `message Shipment { string note = 1; }`."""
    file = descriptor_pb2.FileDescriptorProto(name="shipment.proto", syntax="proto3")
    message = file.message_type.add(name="Shipment")
    field = message.field.add(name="note", number=1)
    field.type = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
    field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Shipment"))


class Registry(SchemaRegistryClient):
    """A real registry gives a Protobuf schema as a serialized descriptor when asked for it with
    `format=serialized`; the embedded one has the text only."""

    def get_latest_version(self, subject_name, fmt=None):
        found = super().get_latest_version(subject_name)
        if fmt != "serialized":
            return found
        descriptor = descriptor_pb2.FileDescriptorProto()
        shipment_class().DESCRIPTOR.file.CopyToProto(descriptor)
        text = base64.standard_b64encode(descriptor.SerializeToString()).decode()
        schema = Schema(text, "PROTOBUF", [])
        return RegisteredSchema(found.subject, found.version, found.schema_id, found.guid, schema)


def produce(bootstrap, registry, note, place=prefix_schema_id_serializer):
    client = Registry({"url": registry})
    latest = {
        "auto.register.schemas": False,
        "use.latest.version": True,
        "schema.id.serializer": place,
    }
    shipment = shipment_class()

    def text(subject):
        return client.get_latest_version(subject).schema

    values = {
        "orders": (
            AvroSerializer(client, text("orders-value"), conf=latest),
            lambda it: {"note": it, "customer": {"name": "Ada"}},
        ),
        "invoices": (
            JSONSerializer(text("invoices-value").schema_str, client, conf=latest),
            lambda it: {"note": it},
        ),
        "shipments": (
            ProtobufSerializer(shipment, client, {**latest, "use.deprecated.format": False}),
            lambda it: shipment(note=it),
        ),
    }
    failures = []
    for codec in CODECS:
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec})
        for topic, (serialize, value) in values.items():
            for index in range(EACH):
                headers = []
                context = SerializationContext(topic, MessageField.VALUE, headers)
                producer.produce(
                    topic,
                    key=f"{topic} {codec} {index}",
                    value=serialize(value(note), context),
                    headers=headers,
                    on_delivery=lambda error, _: failures.append(str(error)) if error else None,
                )
        if producer.flush(60) or failures:
            sys.exit(f"not delivered: {failures}")
    print(len(CODECS) * len(values) * EACH)


def consume(bootstrap, registry, count):
    client = SchemaRegistryClient({"url": registry})
    deserializers = {
        "orders": AvroDeserializer(client),
        "invoices": JSONDeserializer(None, schema_registry_client=client),
        "shipments": ProtobufDeserializer(shipment_class(), {"use.deprecated.format": False}),
    }
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "clients.py", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(list(deserializers))
    deadline = time.time() + 60
    left = count
    while left and time.time() < deadline:
        message = consumer.poll(0.5)
        if message is None or message.error():
            continue
        left -= 1
        topic = message.topic()
        headers = message.headers() or []
        if headers:
            schema_id = str(uuid.UUID(bytes=headers[0][1][1:17]))
            schema = client.get_schema_by_guid(schema_id)
        else:
            schema_id = int.from_bytes(message.value()[1:5], "big")
            schema = client.get_schema(schema_id)
        context = SerializationContext(topic, MessageField.VALUE, headers)
        value = deserializers[topic](message.value(), context)
        note = value.note if topic == "shipments" else value["note"]
        line = {"topic": topic, "key": message.key().decode(), "id": schema_id}
        print(json.dumps({**line, "type": schema.schema_type, "note": note}))
    consumer.close()


if __name__ == "__main__":
    command, bootstrap, registry, last = sys.argv[1:]
    if command == "produce":
        produce(bootstrap, registry, last)
    elif command == "headers":
        produce(bootstrap, registry, last, header_schema_id_serializer)
    else:
        consume(bootstrap, registry, int(last))
