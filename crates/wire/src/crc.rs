//! CRC-32C of a batch that is patched: the new checksum from the old one and the difference.
//!
//! CRC is linear: for two messages of equal length `crc(a) ^ crc(b) = crc0(a ^ b)`, where `crc0`
//! starts from zero. A patched batch differs from the original in a few 4-byte words, so its CRC is
//! the old one XOR each word's difference times `x^(8n)`, `n` being the bytes from the word's first
//! byte to the end. No pass over the batch, and a batch that was corrupt before stays corrupt by
//! exactly the same amount: a broker or consumer still detects it.
//!
//! Polynomials are bit-reflected as in CRC-32C: bit 31 of a `u32` is the coefficient of `x^0`.

#![allow(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the CPU's instructions"
)]

/// The Castagnoli polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum of whole bytes, as Kafka stores it in a batch.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of bytes that come in pieces.
#[derive(Debug)]
pub struct Running(crc_fast::Digest);

impl Default for Running {
    fn default() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }
}

impl Running {
    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces so far.
    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

/// Gathers the differences of one message, first to last, and turns them into the CRC's change.
///
/// Horner's rule: what was gathered is moved on by the gap to the next word, then that word's
/// difference is added, so a record costs one carry-less multiplication.
#[derive(Debug, Default)]
pub struct Difference {
    sum: u32,
    at: usize,
}

impl Difference {
    /// Notes that the four bytes at `at` changed from `old` to `new`.
    ///
    /// Words must come in ascending order; they may overlap, because differences add up.
    #[inline]
    pub fn word(&mut self, at: usize, old: [u8; 4], new: [u8; 4]) {
        self.word_by(Detected, at, old, new);
    }

    /// The same, where the way to multiply was chosen for many words at once.
    #[inline(always)]
    pub(crate) fn word_by(
        &mut self,
        multiply: impl Multiply,
        at: usize,
        old: [u8; 4],
        new: [u8; 4],
    ) {
        debug_assert!(at >= self.at, "words come in ascending order");
        let difference = u32::from_le_bytes(old) ^ u32::from_le_bytes(new);
        self.sum = advance(multiply, self.sum, at - self.at) ^ difference;
        self.at = at;
    }

    /// What to XOR into the CRC of a message that ends before byte `end`.
    pub fn finish(self, end: usize) -> u32 {
        advance(Detected, self.sum, end - self.at)
    }
}

/// `value * x^(8 * bytes)` modulo the polynomial.
#[inline(always)]
fn advance(multiply: impl Multiply, value: u32, bytes: usize) -> u32 {
    let mut value = multiply.product(value, LOW[bytes % STEP]);
    let mut steps = bytes / STEP;
    while steps > 0 {
        let step = steps.min(STEP - 1);
        value = multiply.product(value, HIGH[step]);
        steps -= step;
    }
    value
}

/// A way to multiply, see [`multiply`].
pub(crate) trait Multiply: Copy {
    fn product(self, a: u32, b: u32) -> u32;
}

/// Looks what the CPU can do each time.
#[derive(Clone, Copy)]
struct Detected;

impl Multiply for Detected {
    #[inline]
    fn product(self, a: u32, b: u32) -> u32 {
        multiply(a, b)
    }
}

/// The way for every CPU.
#[derive(Clone, Copy)]
struct Portable;

impl Multiply for Portable {
    fn product(self, a: u32, b: u32) -> u32 {
        portable::multiply(a, b)
    }
}

/// Work that multiplies often.
pub(crate) trait WithMultiply {
    type Output;
    fn run(self, multiply: impl Multiply) -> Self::Output;
}

/// Does the work with code that was compiled for the instructions of this CPU.
pub(crate) fn fastest<W: WithMultiply>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("pclmulqdq") && std::is_x86_feature_detected!("sse4.2") {
        return x86::run(work);
    }
    work.run(Portable)
}

const STEP: usize = 4096;

/// `x^(8n - 33)`: [`multiply`] adds the 33 back.
static LOW: [u32; STEP] = powers(8, BEFORE_ONE);
/// `x^(8 * 4096 * n - 33)`, which together with `LOW` reaches 16 MiB in two multiplications.
static HIGH: [u32; STEP] = powers(8 * STEP, BEFORE_ONE);

/// `x^-33`. The polynomial's constant term is one, so `x` has an inverse.
const BEFORE_ONE: u32 = {
    let mut value = 1 << 31;
    let mut step = 0;
    while step < 33 {
        value = if value >> 31 == 1 { ((value ^ POLYNOMIAL) << 1) | 1 } else { value << 1 };
        step += 1;
    }
    value
};

/// `first * x^(exponent * n)` for each n.
const fn powers(exponent: usize, first: u32) -> [u32; STEP] {
    let mut factor = 1 << 31;
    let mut step = 0;
    while step < exponent {
        factor = times_x(factor);
        step += 1;
    }
    let mut table = [first; STEP];
    let mut n = 1;
    while n < STEP {
        table[n] = slow_product(table[n - 1], factor);
        n += 1;
    }
    table
}

const fn times_x(value: u32) -> u32 {
    (value >> 1) ^ if value & 1 == 1 { POLYNOMIAL } else { 0 }
}

const fn slow_product(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = times_x(b);
        bit >>= 1;
    }
    product
}

/// `a * b * x^33` modulo the polynomial.
///
/// The reflected 64-bit product of two reflected 32-bit polynomials stands for `a * b * x`, and the
/// reduction by the CRC of eight bytes multiplies by `x^32`.
#[inline]
fn multiply(a: u32, b: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("pclmulqdq") && std::is_x86_feature_detected!("sse4.2") {
        return x86::multiply(a, b);
    }
    portable::multiply(a, b)
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::{Multiply, WithMultiply};
    use std::arch::x86_64::{
        _mm_clmulepi64_si128, _mm_crc32_u64, _mm_cvtsi32_si128, _mm_cvtsi128_si64,
    };

    #[inline(always)]
    pub(super) fn multiply(a: u32, b: u32) -> u32 {
        // SAFETY: every caller has just seen that this CPU has PCLMULQDQ and SSE4.2, or runs within
        // what was called because it has; the intrinsics touch registers only.
        unsafe { clmul_and_reduce(a, b) }
    }

    /// Does work within which products are instructions rather than calls.
    pub(super) fn run<W: WithMultiply>(work: W) -> W::Output {
        // SAFETY: as above; the only caller has just looked.
        unsafe { run_with_clmul(work) }
    }

    #[target_feature(enable = "pclmulqdq,sse4.2")]
    fn run_with_clmul<W: WithMultiply>(work: W) -> W::Output {
        work.run(Clmul)
    }

    /// Exists only within [`run_with_clmul`].
    #[derive(Clone, Copy)]
    struct Clmul;

    impl Multiply for Clmul {
        #[inline(always)]
        fn product(self, a: u32, b: u32) -> u32 {
            multiply(a, b)
        }
    }

    #[inline]
    #[target_feature(enable = "pclmulqdq,sse4.2")]
    fn clmul_and_reduce(a: u32, b: u32) -> u32 {
        let a = _mm_cvtsi32_si128(a as i32);
        let b = _mm_cvtsi32_si128(b as i32);
        let product = _mm_cvtsi128_si64(_mm_clmulepi64_si128(a, b, 0));
        _mm_crc32_u64(0, product as u64) as u32
    }
}

/// The twin for every other CPU, compared bit for bit in the tests.
mod portable {
    use super::{POLYNOMIAL, times_x};

    pub(super) fn multiply(a: u32, b: u32) -> u32 {
        let mut product = 0_u64;
        for bit in 0..32 {
            product ^= u64::from(b) << bit & (u64::from(a >> bit & 1)).wrapping_neg();
        }
        let mut crc = 0;
        for byte in product.to_le_bytes() {
            crc = (crc >> 8) ^ BYTES[usize::from(crc as u8 ^ byte)];
        }
        crc
    }

    static BYTES: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut value = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                value = times_x(value);
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    };

    const _: () = assert!(POLYNOMIAL == 0x82f6_3b78, "CRC-32C");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut running = Running::default();
        running.update(b"1234");
        running.update(b"56789");
        assert_eq!(running.value(), 0xe306_9283);
    }

    #[test]
    fn a_word_sixteen_megabytes_from_the_end_counts() {
        for size in [STEP - 1, STEP, STEP + 1, 16 << 20, (33 << 20) + 5] {
            let mut bytes = vec![7_u8; size];
            let before = crc32c(&bytes);
            let mut difference = Difference::default();
            difference.word(3, [7; 4], [1, 2, 3, 4]);
            bytes[3..7].copy_from_slice(&[1, 2, 3, 4]);
            assert_eq!(before ^ difference.finish(size), crc32c(&bytes), "{size} bytes");
        }
    }

    proptest! {
        #[test]
        fn the_twins_agree(a: u32, b: u32) {
            prop_assert_eq!(multiply(a, b), portable::multiply(a, b));
        }

        #[test]
        fn patching_words_gives_the_crc_of_the_patched_bytes(
            mut bytes in prop::collection::vec(any::<u8>(), 4..20_000),
            words in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 4]>()), 0..20),
            flaw: u32,
        ) {
            let stored = crc32c(&bytes) ^ flaw;
            let mut words: Vec<_> =
                words.into_iter().map(|(at, new)| (at.index(bytes.len() - 3), new)).collect();
            words.sort_unstable();
            let mut difference = Difference::default();
            for (at, new) in words {
                let old = bytes[at..at + 4].try_into().unwrap();
                difference.word(at, old, new);
                bytes[at..at + 4].copy_from_slice(&new);
            }
            // A wrong checksum stays wrong by the same bits.
            prop_assert_eq!(stored ^ difference.finish(bytes.len()), crc32c(&bytes) ^ flaw);
        }
    }
}
