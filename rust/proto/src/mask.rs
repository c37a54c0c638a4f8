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
    // Twice the same half, so that it is the same in either order of bytes.
    let word = u64::from(u32::from_ne_bytes(key)) * 0x1_0000_0001;
    let pattern = word.to_ne_bytes();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_the_example_of_the_rfc() {
        // RFC 6455 section 5.7, "a single-frame masked text message".
        let mut data = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply([0x37, 0xfa, 0x21, 0x3d], 0, &mut data);
        assert_eq!(&data, b"Hello");
    }

    #[test]
    fn every_length_and_offset_agrees_with_the_definition() {
        let key = [0x01, 0x80, 0xfe, 0x37];
        for offset in 0..9 {
            for length in 0..70 {
                let plain: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
                let expected: Vec<u8> = plain
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| byte ^ key[(offset + i) % 4])
                    .collect();
                let mut data = plain.clone();
                apply(key, offset, &mut data);
                assert_eq!(data, expected, "offset {offset}, length {length}");
            }
        }
    }

    #[test]
    fn a_copy_longer_than_a_block_is_masked_throughout() {
        let plain: Vec<u8> = (0..3 * BLOCK + 5).map(|i| (i % 251) as u8).collect();
        let mut out = b"before".to_vec();
        copy_masked([9, 8, 7, 6], &plain, &mut out);
        let mut copy = out.split_off(6);
        assert_eq!(out, b"before");
        assert_ne!(copy, plain);
        apply([9, 8, 7, 6], 0, &mut copy);
        assert_eq!(copy, plain);
    }
}
