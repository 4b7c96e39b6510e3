//! As much HTTP/1.1 as the stand-in speaks: a GET, and an answer whose length it says.

use std::io::{Read, Write};

use anyhow::{Context, bail};

/// Longest head of an answer.
const HEAD: usize = 4 * 1024;
/// Read at once of a body.
const PIECE: usize = 256 * 1024;
const MOST_HEADERS: usize = 32;

/// A connection and what has been read from it.
pub(super) struct Exchange<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: Read + Write> Exchange<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; PIECE] }
    }

    /// One GET, whose answer's body is thrown away. Tells `body` the length of each piece.
    pub(super) fn get(&mut self, path: &str, body: impl FnMut(usize)) -> anyhow::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: apiserver\r\n\r\n");
        self.stream.write_all(request.as_bytes()).context("send a request")?;
        self.receive(body).with_context(|| format!("read the answer to GET {path}"))
    }

    fn receive(&mut self, mut body: impl FnMut(usize)) -> anyhow::Result<()> {
        let mut filled = 0;
        let (head, length) = loop {
            filled += self.read(filled)?;
            if let Some(found) = head(&self.buffer[..filled])? {
                break found;
            }
            if filled >= HEAD {
                bail!("its head is longer than {HEAD} bytes");
            }
        };
        let early = filled - head;
        if early > length {
            bail!("{early} bytes came of a body of {length}");
        }
        body(early);
        let mut left = length - early;
        while left > 0 {
            let read = self.read(0)?.min(left);
            body(read);
            left -= read;
        }
        Ok(())
    }

    fn read(&mut self, from: usize) -> anyhow::Result<usize> {
        match self.stream.read(&mut self.buffer[from..])? {
            0 => bail!("the connection has ended"),
            read => Ok(read),
        }
    }
}

/// The length of a successful answer's head and of its body, once the head is there.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).context("parse its head")? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        bail!("its status is {:?}", response.code);
    }
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| str::from_utf8(header.value).ok()?.parse().ok());
    Ok(Some((head, length.context("it does not say its length")?)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// The pieces of the body, when the server sends `text`.
    fn pieces(text: &str) -> anyhow::Result<Vec<usize>> {
        let mut pieces = Vec::new();
        let mut wire = Cursor::new(Vec::new());
        wire.get_mut().extend_from_slice(text.as_bytes());
        let mut exchange = Exchange::new(wire);
        exchange.receive(|piece| pieces.push(piece))?;
        Ok(pieces)
    }

    #[test]
    fn an_answer_ends_where_it_says() {
        assert_eq!(pieces("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap(), [3]);
        assert_eq!(pieces("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap(), [0]);
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
            "\x15\x03\x01\x00\x02",
        ] {
            assert!(pieces(text).is_err(), "{text:?}");
        }
    }
}
