//! Lines of a file that nobody vouches for.
//!
//! Only regular files are opened, without following a link and without waiting for a FIFO's writer. Bytes are hashed
//! as they are read, so one pass serves the index check and the parser. A line, a file and what a file unpacks to are
//! capped: memory stays at one buffer, and a compressed bomb stops early.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use memchr::memchr;
use sha2::{Digest, Sha256};
use stakeout_core::files;

use crate::ReasonCode;

/// How much a reader takes in before it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a line.
    pub line: usize,
    /// Bytes of a file on disk, and of what it unpacks to.
    pub file: u64,
    /// How many times its own size a compressed file may unpack to (idle telemetry packs about a hundredfold).
    pub ratio: u64,
}

impl Default for Limits {
    /// Lines of 1 MiB, files of 16 GiB, a thousandfold compression.
    fn default() -> Self {
        Self { line: 1 << 20, file: 16 << 30, ratio: 1000 }
    }
}

const CHUNK: usize = 256 << 10;
/// The largest zstd window that is accepted: 2^27 bytes, the default of the zstd tool.
const WINDOW_LOG: u32 = 27;

/// Why a file or a line could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of problem.
    pub code: ReasonCode,
    /// One readable line.
    pub text: String,
}

impl Problem {
    pub(crate) fn new(code: ReasonCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Opens a regular file: no link is followed, no FIFO or device is waited for.
///
/// # Errors
/// `not_regular_file`, or `unreadable` with the operating system's words; `file_missing` when there is none.
pub fn open_regular(path: &Path) -> Result<(File, u64), Problem> {
    let file = files::open_regular(path).map_err(|error| {
        let (code, text) = match error.kind() {
            _ if files::is_not_regular(&error) => (ReasonCode::NotRegularFile, error.to_string()),
            io::ErrorKind::NotFound => (ReasonCode::FileMissing, "there is no such file".into()),
            _ => (ReasonCode::Unreadable, error.to_string()),
        };
        Problem::new(code, text)
    })?;
    let about = file.metadata().map_err(|error| Problem::new(ReasonCode::Unreadable, error.to_string()))?;
    Ok((file, about.len()))
}

/// What the bytes of a file on disk add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digested {
    /// Number of bytes.
    pub size: u64,
    /// Their sha256.
    pub sha256: [u8; 32],
}

/// A file that is hashed while it is read.
struct Hashing {
    file: File,
    hasher: Sha256,
    size: u64,
}

impl Read for Hashing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.hasher.update(&into[..read]);
        self.size += read as u64;
        Ok(read)
    }
}

enum Input {
    Plain(Hashing),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Hashing>>>),
}

/// One line, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// 1-based.
    pub number: u64,
    /// Where it starts, in unpacked bytes.
    pub offset: u64,
    /// The bytes; empty when the line is too long.
    pub bytes: &'a [u8],
    /// How it ends.
    pub end: LineEnd,
}

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    /// With a line feed.
    Whole,
    /// With the end of the file: it was cut.
    Cut,
    /// It is longer than the cap; its bytes were skipped.
    TooLong,
}

/// The lines of a file, plain or `.zst`.
pub struct Lines<'b> {
    input: Input,
    buffer: &'b mut Vec<u8>,
    start: usize,
    end: usize,
    number: u64,
    offset: u64,
    unpacked: u64,
    most: u64,
    limits: Limits,
    drained: bool,
}

impl<'b> Lines<'b> {
    /// Opens a file. `buffer` is working memory that can serve one file after the other.
    ///
    /// # Errors
    /// As [`open_regular`]; `file_too_large`; `bad_compression`.
    pub fn open(path: &Path, compressed: bool, limits: Limits, buffer: &'b mut Vec<u8>) -> Result<Self, Problem> {
        let (file, size) = open_regular(path)?;
        if size > limits.file {
            let text = format!("{size} bytes are more than the cap of {}", limits.file);
            return Err(Problem::new(ReasonCode::FileTooLarge, text));
        }
        let raw = Hashing { file, hasher: Sha256::new(), size: 0 };
        let (input, most) = if compressed {
            let failed = |error: io::Error| Problem::new(ReasonCode::BadCompression, error.to_string());
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(CHUNK, raw)).map_err(failed)?;
            decoder.window_log_max(WINDOW_LOG).map_err(failed)?;
            let most = (CHUNK as u64).saturating_add(size.saturating_mul(limits.ratio));
            (Input::Zstd(Box::new(decoder)), most.min(limits.file))
        } else {
            (Input::Plain(raw), limits.file)
        };
        if buffer.len() < CHUNK {
            buffer.resize(CHUNK, 0);
        }
        Ok(Self { input, buffer, start: 0, end: 0, number: 0, offset: 0, unpacked: 0, most, limits, drained: false })
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// `unreadable`, `bad_compression`, `file_too_large`. The reader is at its end after any of them.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, Problem> {
        let mut searched = self.start;
        let mut skipped = 0;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[searched..self.end]) {
                let (from, to) = (self.start, searched + at);
                self.start = to + 1;
                self.number += 1;
                let offset = self.offset;
                self.offset += skipped + (to - from) as u64 + 1;
                let too_long = skipped > 0 || to - from > self.limits.line;
                let (bytes, end) =
                    if too_long { (&[][..], LineEnd::TooLong) } else { (&self.buffer[from..to], LineEnd::Whole) };
                return Ok(Some(Line { number: self.number, offset, bytes, end }));
            }
            if self.end - self.start > self.limits.line {
                skipped += (self.end - self.start) as u64;
                self.start = self.end;
            }
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            searched = self.end;
            if self.end == self.buffer.len() {
                self.buffer.resize(2 * self.end, 0);
            }
            if self.fill()? == 0 {
                if self.end == 0 && skipped == 0 {
                    return Ok(None);
                }
                let to = std::mem::take(&mut self.end);
                self.number += 1;
                let (bytes, end) =
                    if skipped > 0 { (&[][..], LineEnd::TooLong) } else { (&self.buffer[..to], LineEnd::Cut) };
                return Ok(Some(Line { number: self.number, offset: self.offset, bytes, end }));
            }
        }
    }

    fn fill(&mut self) -> Result<usize, Problem> {
        if self.drained {
            return Ok(0);
        }
        let room = &mut self.buffer[self.end..];
        let read = loop {
            let read = match &mut self.input {
                Input::Plain(raw) => raw.read(room),
                Input::Zstd(decoder) => decoder.read(room),
            };
            match read {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.close();
                    let code = match &self.input {
                        Input::Plain(_) => ReasonCode::Unreadable,
                        Input::Zstd(_) => ReasonCode::BadCompression,
                    };
                    return Err(Problem::new(code, error.to_string()));
                }
            }
        };
        self.end += read;
        self.unpacked += read as u64;
        self.drained = read == 0;
        if self.unpacked > self.most {
            self.close();
            let text = format!("it holds more than {} bytes, the cap for a file of its size", self.most);
            return Err(Problem::new(ReasonCode::FileTooLarge, text));
        }
        Ok(read)
    }

    fn close(&mut self) {
        (self.start, self.end, self.drained) = (0, 0, true);
    }

    /// Reads what is left of the file on disk and says what all of it adds up to.
    ///
    /// # Errors
    /// `unreadable`.
    pub fn finish(self) -> Result<Digested, Problem> {
        let mut raw = match self.input {
            Input::Plain(raw) => raw,
            Input::Zstd(decoder) => decoder.finish().into_inner(),
        };
        loop {
            match raw.read(self.buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::new(ReasonCode::Unreadable, error.to_string())),
            }
        }
        Ok(Digested { size: raw.size, sha256: raw.hasher.finalize().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Seen = (Vec<(u64, Vec<u8>, LineEnd)>, Option<ReasonCode>);

    fn read(path: &Path, compressed: bool, limits: Limits) -> Seen {
        let mut buffer = Vec::new();
        let mut lines = match Lines::open(path, compressed, limits, &mut buffer) {
            Ok(lines) => lines,
            Err(problem) => return (Vec::new(), Some(problem.code)),
        };
        let mut all = Vec::new();
        loop {
            match lines.next_line() {
                Ok(Some(line)) => all.push((line.number, line.bytes.to_vec(), line.end)),
                Ok(None) => break,
                Err(problem) => return (all, Some(problem.code)),
            }
        }
        let digest = lines.finish().unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(digest, Digested { size: bytes.len() as u64, sha256: Sha256::digest(&bytes).into() });
        (all, None)
    }

    fn slow(bytes: &[u8], longest: usize) -> Vec<(u64, Vec<u8>, LineEnd)> {
        let mut parts: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
        let last = parts.pop().unwrap_or_default();
        let mut all: Vec<_> = parts.into_iter().map(|line| (line, LineEnd::Whole)).collect();
        if !last.is_empty() {
            all.push((last, LineEnd::Cut));
        }
        let number = |(i, (line, end)): (usize, (&[u8], LineEnd))| {
            let long = line.len() > longest;
            (i as u64 + 1, if long { Vec::new() } else { line.to_vec() }, if long { LineEnd::TooLong } else { end })
        };
        all.into_iter().enumerate().map(number).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lines_are_those_of_a_plain_split(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..600),
            longest in 1usize..40,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits { line: longest, ..Limits::default() };
            let (plain, packed) = (folder.path().join("a"), folder.path().join("a.zst"));
            std::fs::write(&plain, &bytes).unwrap();
            std::fs::write(&packed, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
            prop_assert_eq!(read(&plain, false, limits), (slow(&bytes, longest), None));
            prop_assert_eq!(read(&packed, true, limits), (slow(&bytes, longest), None));
        }

        #[test]
        fn garbage_does_not_unpack_and_does_not_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.zst");
            std::fs::write(&path, &bytes).unwrap();
            let (lines, problem) = read(&path, true, Limits::default());
            prop_assert!(problem == Some(ReasonCode::BadCompression) || lines.is_empty());
        }
    }

    #[test]
    fn lines_longer_than_the_buffer_are_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let long = vec![b'x'; 700_000];
        std::fs::write(&path, [&long[..], b"\ny\n"].concat()).unwrap();
        let (lines, problem) = read(&path, false, Limits::default());
        assert_eq!(lines, [(1, long, LineEnd::Whole), (2, b"y".to_vec(), LineEnd::Whole)]);
        assert_eq!(problem, None);
    }

    #[test]
    fn a_bomb_stops_early() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zst");
        let zeros = io::repeat(b'\n').take(200 << 20);
        let mut encoder = zstd::stream::write::Encoder::new(File::create(&path).unwrap(), 1).unwrap();
        io::copy(&mut BufReader::with_capacity(CHUNK, zeros), &mut encoder).unwrap();
        encoder.finish().unwrap();
        let mut buffer = Vec::new();
        let mut lines = Lines::open(&path, true, Limits::default(), &mut buffer).unwrap();
        let problem = loop {
            match lines.next_line() {
                Ok(line) => assert!(line.is_some(), "the bomb went off"),
                Err(problem) => break problem,
            }
        };
        assert_eq!(problem.code, ReasonCode::FileTooLarge);
        assert!(lines.unpacked < 64 << 20, "{}", lines.unpacked);
        assert_eq!(lines.finish().unwrap().size, std::fs::metadata(&path).unwrap().len());
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("real"), "x\n").unwrap();
        std::os::unix::fs::symlink(path("real"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap();
        assert!(made.success());
        let code = |path: &Path| open_regular(path).map(|(_, size)| size).map_err(|problem| problem.code);
        assert_eq!(code(&path("real")), Ok(2));
        assert_eq!(code(&path("absent")), Err(ReasonCode::FileMissing));
        for odd in [path("link"), path("dangling"), path("fifo"), folder.path().to_owned(), "/dev/zero".into()] {
            assert_eq!(code(&odd), Err(ReasonCode::NotRegularFile), "{}", odd.display());
        }
    }
}
