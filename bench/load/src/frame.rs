//! Frames as a client writes and reads them (RFC 6455, section 5.2), and the opening handshake.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;

/// The example key of RFC 6455, section 1.3, and the answer given there: no SHA-1 is needed to check a server.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An error that says what the peer did wrong.
pub fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Masks for frames: new ones every time, but not meant to be unpredictable.
pub struct Masks(u64);

impl Masks {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }
}

/// Appends the header of a frame, with a mask if one is given.
fn push_header(out: &mut Vec<u8>, opcode: u8, length: usize, mask: Option<u32>) {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match length {
        0..=125 => out.push(bit | length as u8),
        126..=0xFFFF => {
            out.push(bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        out.extend_from_slice(&mask.to_ne_bytes());
    }
}

/// Appends a masked frame.
pub fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: u32) {
    push_header(out, opcode, payload.len(), Some(mask));
    let at = out.len();
    out.extend_from_slice(payload);
    let wide = u64::from(mask) << 32 | u64::from(mask);
    let mut words = out[at..].chunks_exact_mut(8);
    for word in &mut words {
        let masked = u64::from_ne_bytes((&*word).try_into().expect("chunks of 8")) ^ wide;
        word.copy_from_slice(&masked.to_ne_bytes());
    }
    for (octet, mask) in words.into_remainder().iter_mut().zip(wide.to_ne_bytes()) {
        *octet ^= mask;
    }
}

/// The header a server has to put before an unfragmented message: the only one an echo may have.
pub fn server_header(opcode: u8, length: usize) -> Vec<u8> {
    let mut header = Vec::new();
    push_header(&mut header, opcode, length, None);
    header
}

/// The upgrade request.
pub fn request(port: u16) -> Vec<u8> {
    request_with(port, "")
}

/// The same with further header lines.
fn request_with(port: u16, headers: &str) -> Vec<u8> {
    format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
    .into_bytes()
}

/// The length of the response at the start of `input` once it is whole.
pub fn response_length(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = input.windows(4).position(|octets| octets == b"\r\n\r\n") else {
        return if input.len() > 16 * 1024 {
            Err(wrong("a response without an end"))
        } else {
            Ok(None)
        };
    };
    let head = String::from_utf8_lossy(&input[..end]);
    if !head.starts_with("HTTP/1.1 101 ") || !head.contains(ACCEPT) {
        return Err(wrong(format!(
            "the upgrade was refused: {}",
            head.lines().next().unwrap_or("")
        )));
    }
    Ok(Some(end + 4))
}

/// Connects to `port` on 127.0.0.1; the socket blocks, for ten seconds at most.
pub fn open(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Connects and upgrades; the socket blocks.
pub fn open_upgraded(port: u16) -> io::Result<TcpStream> {
    open_upgraded_with(port, "")
}

/// The same with further header lines in the request.
pub fn open_upgraded_with(port: u16, headers: &str) -> io::Result<TcpStream> {
    let mut stream = open(port)?;
    stream.write_all(&request_with(port, headers))?;
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Err(wrong("the connection ended during the upgrade")),
            n => head.extend_from_slice(&buffer[..n]),
        }
        match response_length(&head)? {
            None => continue,
            Some(length) if length == head.len() => return Ok(stream),
            Some(_) => return Err(wrong("octets after the response, before anything was sent")),
        }
    }
}

/// Sends one message over a blocking socket and waits for its echo.
pub fn echo_once(stream: &mut TcpStream, payload: &[u8], mask: u32) -> io::Result<()> {
    let mut out = Vec::new();
    push_frame(&mut out, BINARY, payload, mask);
    stream.write_all(&out)?;
    let header = server_header(BINARY, payload.len());
    let mut echo = vec![0; header.len() + payload.len()];
    stream.read_exact(&mut echo)?;
    if echo[..header.len()] != header[..] || echo[header.len()..] != *payload {
        return Err(wrong("an echo differs from what was sent"));
    }
    Ok(())
}
