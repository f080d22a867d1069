//! Heads of HTTP/1.1 messages, as far as a fault has to know them.

use std::io::{self, BufRead, ErrorKind};

/// Longer heads are no registry's.
const MOST_HEAD_BYTES: usize = 64 << 10;

/// A request line or status line, and the header lines.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) first: String,
    lines: Vec<String>,
}

impl Head {
    /// Reads one; `None` at the end of the connection.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            bytes += from.read_line(&mut line)?;
            if bytes > MOST_HEAD_BYTES {
                return Err(io::Error::new(ErrorKind::InvalidData, "an endless head"));
            }
            if !line.ends_with('\n') {
                return if lines.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            let line = line.trim_end();
            if line.is_empty() {
                let mut lines = lines.into_iter();
                return Ok(lines.next().map(|first| Self { first, lines: lines.collect() }));
            }
            lines.push(line.to_owned());
        }
    }

    /// A word of the first line: method, path, version; or version, status.
    pub(super) fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Puts a header in the place of those of that name.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.lines.retain(|line| !line.split(':').next().is_some_and(|key| key.eq_ignore_ascii_case(name)));
        self.lines.push(format!("{name}: {value}"));
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let lines: String = self.lines.iter().map(|line| format!("{line}\r\n")).collect();
        format!("{}\r\n{lines}\r\n", self.first).into_bytes()
    }
}
