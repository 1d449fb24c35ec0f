//! Builds record batches of any content, so that tests state what they mean and not bytes.
#![allow(dead_code, unreachable_pub, missing_docs)]

use proptest::prelude::*;
use wire::codec::{self, Codec};
use wire::record::Records;
use wire::{Batch, crc, varint};

/// A record as a user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Plain {
    pub fn new(key: Option<&[u8]>, value: Option<&[u8]>) -> Self {
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        Self { timestamp_delta: 0, offset_delta: 0, key, value, headers: vec![] }
    }

    pub fn header(mut self, name: &[u8], value: &[u8]) -> Self {
        self.headers.push((name.to_vec(), Some(value.to_vec())));
        self
    }
}

/// The magic byte, an id and some payload.
pub fn framed(id: u32, rest: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], rest].concat()
}

/// Everything of a batch but its records.
#[derive(Debug, Clone)]
pub struct Shape {
    pub codec: Codec,
    pub attributes: i16,
    pub base_offset: i64,
    pub base_timestamp: i64,
    pub producer: (i64, i16, i32),
    /// Bytes in front of the compressed payload decide the framing; see `codec::compress`.
    pub xerial: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            codec: Codec::None,
            attributes: 0,
            base_offset: 0,
            base_timestamp: 1_700_000_000_000,
            producer: (-1, -1, -1),
            xerial: false,
        }
    }
}

pub fn encode(shape: &Shape, records: &[Plain]) -> Vec<u8> {
    let mut plain = Vec::new();
    for record in records {
        let mut body = vec![0];
        varint::write_i64(&mut body, record.timestamp_delta);
        varint::write_i32(&mut body, record.offset_delta);
        bytes(&mut body, record.key.as_deref());
        bytes(&mut body, record.value.as_deref());
        varint::write_i32(&mut body, record.headers.len() as i32);
        for (name, value) in &record.headers {
            bytes(&mut body, Some(name));
            bytes(&mut body, value.as_deref());
        }
        bytes(&mut plain, Some(&body));
    }
    let xerial = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    let mut payload = Vec::new();
    let original: &[u8] = if shape.xerial { xerial } else { &[] };
    codec::compress(shape.codec, &plain, original, &mut payload);

    let last = records.last().map_or(0, |it| it.offset_delta);
    let latest = records.iter().map(|it| it.timestamp_delta).max().unwrap_or(0);
    let number = Codec::ALL.iter().position(|&it| it == shape.codec).unwrap() as i16;
    let mut out = Vec::new();
    out.extend(shape.base_offset.to_be_bytes());
    out.extend((payload.len() as i32 + 49).to_be_bytes());
    out.extend(5_i32.to_be_bytes());
    out.push(2);
    out.extend([0; 4]);
    out.extend((shape.attributes | number).to_be_bytes());
    out.extend(last.to_be_bytes());
    out.extend(shape.base_timestamp.to_be_bytes());
    out.extend(shape.base_timestamp.wrapping_add(latest).to_be_bytes());
    out.extend(shape.producer.0.to_be_bytes());
    out.extend(shape.producer.1.to_be_bytes());
    out.extend(shape.producer.2.to_be_bytes());
    out.extend((records.len() as i32).to_be_bytes());
    out.extend(payload);
    let crc = crc::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

fn bytes(out: &mut Vec<u8>, part: Option<&[u8]>) {
    varint::write_i32(out, part.map_or(-1, |it| it.len() as i32));
    out.extend_from_slice(part.unwrap_or_default());
}

/// Reads a batch back, through this crate's own walk.
pub fn decode(bytes: &[u8]) -> Vec<Plain> {
    let batch = Batch::parse(bytes).unwrap();
    assert!(batch.crc_matches());
    let mut payload = Vec::new();
    codec::decompress(batch.header.codec().unwrap(), batch.payload(), 1 << 26, &mut payload)
        .unwrap();
    let mut records = Records::new(&payload, batch.header.count);
    let mut out = Vec::new();
    while let Some(record) = records.next_record().unwrap() {
        let mut headers = Vec::new();
        let mut walk = record.headers(&payload);
        while let Some((name, value)) = walk.next_header().unwrap() {
            headers.push((payload[name].to_vec(), value.map(|it| payload[it].to_vec())));
        }
        out.push(Plain {
            timestamp_delta: record.timestamp_delta,
            offset_delta: record.offset_delta,
            key: record.key.map(|it| payload[it].to_vec()),
            value: record.value.map(|it| payload[it].to_vec()),
            headers,
        });
    }
    out
}

/// Keys and values of every kind: null, empty, short, framed with a small id, arbitrary.
pub fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        Just(Some(vec![])),
        prop::collection::vec(any::<u8>(), 1..40).prop_map(Some),
        (0_u32..40, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(id, rest)| Some(framed(id, &rest))),
    ]
}

pub fn headers() -> impl Strategy<Value = Vec<(Vec<u8>, Option<Vec<u8>>)>> {
    let name = prop_oneof![
        Just(b"__key_schema_id".to_vec()),
        Just(b"__value_schema_id".to_vec()),
        Just(b"trace".to_vec()),
    ];
    prop_oneof![
        3 => Just(vec![]),
        1 => prop::collection::vec((name, part()), 1..4),
    ]
}

pub fn records() -> impl Strategy<Value = Vec<Plain>> {
    prop::collection::vec((part(), part(), headers(), 0_i64..1000), 1..60).prop_map(|parts| {
        let plain = parts.into_iter().enumerate();
        plain
            .map(|(index, (key, value, headers, timestamp_delta))| Plain {
                timestamp_delta,
                offset_delta: index as i32,
                key,
                value,
                headers,
            })
            .collect()
    })
}

pub fn shape() -> impl Strategy<Value = Shape> {
    (prop::sample::select(&Codec::ALL[..]), any::<i64>(), any::<(i64, i16, i32)>(), any::<bool>())
        .prop_map(|(codec, base_offset, producer, xerial)| Shape {
            codec,
            base_offset,
            producer,
            xerial,
            ..Shape::default()
        })
}
