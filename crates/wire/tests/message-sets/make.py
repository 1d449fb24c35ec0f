"""Writes the message sets beside it as brokers before Kafka 0.11 stored them.

pip install kafka-python python-snappy lz4 xxhash; python make.py
"""

import pathlib
import struct

from kafka.record.legacy_records import LegacyRecordBatchBuilder

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3}
RECORDS = [
    (b"a", b"\0\0\0\0\x05first"),
    (None, b"no key"),
    (b"tombstone", None),
    (b"", b""),
    (b"last", b"x" * 3000),
]

here = pathlib.Path(__file__).parent
for magic in (0, 1):
    for name, codec in CODECS.items():
        builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=1 << 20)
        # Within a compressed message of magic 1, offsets count from zero (KIP-31).
        base = 0 if magic == 1 and codec else 100
        for index, (key, value) in enumerate(RECORDS):
            builder.append(base + index, 1_700_000_000_000 + index, key, value)
        stored = bytearray(builder.build())
        if codec:
            # The broker gives a compressed message the offset of its last record.
            stored[:8] = struct.pack(">q", 100 + len(RECORDS) - 1)
        (here / f"{magic}-{name}.bin").write_bytes(bytes(stored))
