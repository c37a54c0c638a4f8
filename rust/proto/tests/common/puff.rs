//! An inflater of its own, slow and strict, after RFC 1951: a judge of what the code under test puts out. It knows how
//! far back a stream refers, and where its blocks are.
#![allow(dead_code, reason = "each test binary uses its part")]

/// A deflate stream's content, and the longest distance in it. `history` is what stood before it.
pub fn inflate(stream: &[u8], history: &[u8]) -> (Vec<u8>, usize) {
    let mut out = history.to_vec();
    let mut reader = Reader { stream, at: 0 };
    let mut farthest = 0;
    while reader.at + 8 <= stream.len() * 8 {
        let (last, _) = reader.block(&mut out, &mut farthest);
        if last {
            reader.at = reader.at.next_multiple_of(8);
        }
    }
    (out.split_off(history.len()), farthest)
}

/// A block of a stream: where it begins and ends, in bits.
pub struct Block {
    pub start: usize,
    pub end: usize,
    pub last: bool,
    /// It is one without compression.
    pub stored: bool,
    /// How long the stream's content is when it has ended.
    pub length: usize,
}

/// The blocks of a stream that is whole, and its content.
pub fn blocks(stream: &[u8]) -> (Vec<Block>, Vec<u8>) {
    let mut out = Vec::new();
    let mut reader = Reader { stream, at: 0 };
    let mut blocks = Vec::new();
    while reader.at + 8 <= stream.len() * 8 {
        let start = reader.at;
        let (last, stored) = reader.block(&mut out, &mut 0);
        blocks.push(Block {
            start,
            end: reader.at,
            last,
            stored,
            length: out.len(),
        });
        if last {
            reader.at = reader.at.next_multiple_of(8);
        }
    }
    (blocks, out)
}

/// How many codes there are of each length, and their symbols in order.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[u8]) -> Self {
        let mut counts = [0; 16];
        let mut symbols: Vec<usize> = (0..lengths.len()).filter(|at| lengths[*at] > 0).collect();
        symbols.sort_by_key(|symbol| lengths[*symbol]);
        symbols
            .iter()
            .for_each(|symbol| counts[usize::from(lengths[*symbol])] += 1);
        Code { counts, symbols }
    }
}

struct Reader<'a> {
    stream: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, count: usize) -> usize {
        let bit = |at: usize| usize::from(self.stream[at / 8] >> (at % 8) & 1);
        let value = (0..count).fold(0, |value, index| value | bit(self.at + index) << index);
        self.at += count;
        value
    }

    /// Reads a block. Returns whether it is the last one, and whether it is one without compression.
    fn block(&mut self, out: &mut Vec<u8>, farthest: &mut usize) -> (bool, bool) {
        let last = self.bits(1) == 1;
        let kind = self.bits(2);
        match kind {
            0 => self.stored(out),
            1 => {
                let lengths: Vec<u8> = (0..288)
                    .map(|symbol| match symbol {
                        0..=143 => 8,
                        144..=255 => 9,
                        256..=279 => 7,
                        _ => 8,
                    })
                    .collect();
                self.compressed(&Code::new(&lengths), &Code::new(&[5; 30]), out, farthest);
            }
            2 => {
                let (literals, distances) = self.codes();
                self.compressed(&literals, &distances, out, farthest);
            }
            _ => panic!("block type 3"),
        }
        (last, kind == 0)
    }

    fn symbol(&mut self, code: &Code) -> usize {
        let (mut value, mut first, mut index) = (0, 0, 0);
        for length in 1..16 {
            value |= self.bits(1);
            let count = code.counts[length];
            if value < first + count {
                return code.symbols[index + value - first];
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        panic!("a code that stands for nothing");
    }

    fn stored(&mut self, out: &mut Vec<u8>) {
        self.at = self.at.next_multiple_of(8);
        let length = self.bits(16);
        assert_eq!(self.bits(16), length ^ 0xFFFF, "a stored block's length");
        let start = self.at / 8;
        out.extend_from_slice(&self.stream[start..start + length]);
        self.at += length * 8;
    }

    fn codes(&mut self) -> (Code, Code) {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let (literals, distances, given) = (self.bits(5) + 257, self.bits(5) + 1, self.bits(4) + 4);
        let mut lengths = [0; 19];
        for place in &ORDER[..given] {
            lengths[*place] = self.bits(3) as u8;
        }
        let code = Code::new(&lengths);
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (length, times) = match self.symbol(&code) {
                16 => (lengths[lengths.len() - 1], 3 + self.bits(2)),
                17 => (0, 3 + self.bits(3)),
                18 => (0, 11 + self.bits(7)),
                length => (length as u8, 1),
            };
            lengths.extend(std::iter::repeat_n(length, times));
        }
        (
            Code::new(&lengths[..literals]),
            Code::new(&lengths[literals..]),
        )
    }

    fn compressed(
        &mut self,
        literals: &Code,
        distances: &Code,
        out: &mut Vec<u8>,
        farthest: &mut usize,
    ) {
        const LENGTHS: [usize; 29] = [
            3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99,
            115, 131, 163, 195, 227, 258,
        ];
        const DISTANCES: [usize; 30] = [
            1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025,
            1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
        ];
        loop {
            let symbol = self.symbol(literals);
            if symbol < 256 {
                out.push(symbol as u8);
                continue;
            }
            if symbol == 256 {
                return;
            }
            let symbol = symbol - 257;
            let extra = if (8..28).contains(&symbol) {
                symbol / 4 - 1
            } else {
                0
            };
            let length = LENGTHS[symbol] + self.bits(extra);
            let symbol = self.symbol(distances);
            let distance = DISTANCES[symbol] + self.bits((symbol / 2).saturating_sub(1));
            *farthest = distance.max(*farthest);
            (0..length).for_each(|_| out.push(out[out.len() - distance]));
        }
    }
}
