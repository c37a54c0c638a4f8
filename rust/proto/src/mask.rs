//! Masking (RFC 6455 section 5.3): byte `i` of a payload is XORed with byte `i % 4` of the key.

/// Bytes that are copied and masked together in [`copy_masked`]: the copy is masked while it is still in
/// the first-level cache, so the payload crosses the memory bus once. A multiple of 4, so that every block
/// starts with the first byte of the key.
const BLOCK: usize = 8 * 1024;

/// Masks or unmasks `data` in place. `offset` is the position of `data`'s first byte in its frame's payload.
#[inline]
pub fn apply(key: [u8; 4], offset: usize, data: &mut [u8]) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let [a, b, c, d] = key;
    let pattern = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(pattern);
    // Fixed-size words without bounds checks: the compiler makes vector code of this loop.
    let mut words = data.chunks_exact_mut(8);
    for chunk in &mut words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(pattern) {
        *byte ^= key;
    }
}

/// Appends `source`, masked with `key`, to `out`.
pub fn copy_masked(key: [u8; 4], source: &[u8], out: &mut Vec<u8>) {
    out.reserve(source.len());
    for block in source.chunks(BLOCK) {
        let start = out.len();
        out.extend_from_slice(block);
        apply(key, 0, &mut out[start..]);
    }
}
