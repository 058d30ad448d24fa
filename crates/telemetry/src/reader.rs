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

/// Bytes into lines: a window onto what was read, and where in it the next line starts.
struct Splitter<'b> {
    buffer: &'b mut Vec<u8>,
    start: usize,
    end: usize,
    number: u64,
    offset: u64,
    longest: usize,
}

impl<'b> Splitter<'b> {
    fn new(buffer: &'b mut Vec<u8>, longest: usize) -> Self {
        if buffer.len() < CHUNK {
            buffer.resize(CHUNK, 0);
        }
        Self { buffer, start: 0, end: 0, number: 0, offset: 0, longest }
    }

    /// The next line, or `None` at the end. `fill` reads some bytes into the room that it is given; none is the end, and
    /// after an error too.
    fn next_line(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, Problem>,
    ) -> Result<Option<Line<'_>>, Problem> {
        let mut searched = self.start;
        let mut skipped = 0;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[searched..self.end]) {
                let (from, to) = (self.start, searched + at);
                self.start = to + 1;
                self.number += 1;
                let offset = self.offset;
                self.offset += skipped + (to - from) as u64 + 1;
                let too_long = skipped > 0 || to - from > self.longest;
                let (bytes, end) =
                    if too_long { (&[][..], LineEnd::TooLong) } else { (&self.buffer[from..to], LineEnd::Whole) };
                return Ok(Some(Line { number: self.number, offset, bytes, end }));
            }
            if self.end - self.start > self.longest {
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
            let read = fill(&mut self.buffer[self.end..]).inspect_err(|_| (self.start, self.end) = (0, 0))?;
            self.end += read;
            if read == 0 {
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
}

/// Reads again where a signal came in between.
fn read_some(from: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// The lines of a file, plain or `.zst`.
pub struct Lines<'b> {
    input: Input,
    splitter: Splitter<'b>,
    unpacked: u64,
    most: u64,
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
        Ok(Self { input, splitter: Splitter::new(buffer, limits.line), unpacked: 0, most, drained: false })
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// `unreadable`, `bad_compression`, `file_too_large`. The reader is at its end after any of them.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, Problem> {
        let Self { input, splitter, unpacked, most, drained } = self;
        splitter.next_line(|room| {
            if *drained {
                return Ok(0);
            }
            let (read, code) = match input {
                Input::Plain(raw) => (read_some(raw, room), ReasonCode::Unreadable),
                Input::Zstd(decoder) => (read_some(decoder, room), ReasonCode::BadCompression),
            };
            *drained = !matches!(read, Ok(1..));
            let read = read.map_err(|error| Problem::new(code, error.to_string()))?;
            *unpacked += read as u64;
            if *unpacked > *most {
                *drained = true;
                let text = format!("it holds more than {most} bytes, the cap for a file of its size");
                return Err(Problem::new(ReasonCode::FileTooLarge, text));
            }
            Ok(read)
        })
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
            match read_some(&mut raw, self.splitter.buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Problem::new(ReasonCode::Unreadable, error.to_string())),
            }
        }
        Ok(Digested { size: raw.size, sha256: raw.hasher.finalize().into() })
    }
}

/// The lines of a stream that may go on for ever: each is there as soon as its end was read.
pub struct StreamLines<'b, R> {
    input: R,
    splitter: Splitter<'b>,
}

impl<'b, R: Read> StreamLines<'b, R> {
    /// Lines of at most `longest` bytes; a longer one is skipped. `buffer` is working memory: it grows to twice the
    /// longest line.
    pub fn new(input: R, longest: usize, buffer: &'b mut Vec<u8>) -> Self {
        Self { input, splitter: Splitter::new(buffer, longest) }
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// `unreadable`.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, Problem> {
        let Self { input, splitter } = self;
        splitter.next_line(|room| {
            read_some(input, room).map_err(|error| Problem::new(ReasonCode::Unreadable, error.to_string()))
        })
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
        fn a_stream_that_comes_in_pieces_has_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..600),
            longest in 1usize..40,
            pieces in proptest::collection::vec(1usize..50, 1..9),
        ) {
            struct Pieces<'a>(&'a [u8], std::iter::Cycle<std::slice::Iter<'a, usize>>);
            impl Read for Pieces<'_> {
                fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                    let most = *self.1.next().expect("at least one piece");
                    if most.is_multiple_of(7) {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    let room = into.len().min(most);
                    self.0.read(&mut into[..room])
                }
            }
            prop_assume!(pieces.iter().any(|piece| piece % 7 != 0));
            let mut buffer = Vec::new();
            let mut lines = StreamLines::new(Pieces(&bytes, pieces.iter().cycle()), longest, &mut buffer);
            let mut all = Vec::new();
            while let Some(line) = lines.next_line().unwrap() {
                all.push((line.number, line.bytes.to_vec(), line.end));
            }
            prop_assert_eq!(all, slow(&bytes, longest));
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
    fn a_line_without_an_end_takes_no_more_memory_than_the_longest() {
        let mut buffer = Vec::new();
        let mut lines = StreamLines::new(io::repeat(b'x').take(64 << 20).chain(&b"\nnext\n"[..]), 1 << 20, &mut buffer);
        assert_eq!(lines.next_line().unwrap().map(|line| (line.number, line.end)), Some((1, LineEnd::TooLong)));
        assert_eq!(lines.next_line().unwrap().map(|line| line.bytes), Some(&b"next"[..]));
        assert!(lines.next_line().unwrap().is_none());
        assert!(buffer.len() <= 4 << 20, "{}", buffer.len());
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
