//! The window kernel on a folder of parquet telemetry, one thread, for `benches/peers/features.py`.
//!
//! `window_telemetry FOLDER [--repeat N] [--write FOLDER]`: reads `episodes.parquet`, `clocks.parquet` and
//! `host=<h>/<source>.parquet` (episode, ts, channels) and prints one JSON object of process CPU seconds:
//! * `end_to_end`: files → windows with six statistics (mean, std, min, max, last, slope) and the step tensor, empty
//!   steps filled from the episode's neighbouring steps, episode by episode;
//! * `kernel`: the same without reading and clock mapping, from samples that lie ready in memory;
//! * `kernel_default`: the default five statistics (the 95th percentile among them) and the unfilled tensor.
//!
//! `--write` stores the outputs as little-endian `f32` (`six.bin`, `tensor.bin`, `five.bin`) to be checked.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mimalloc::MiMalloc;
use parquet::column::reader::ColumnReader;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use stakeout_core::Statistic;
use stakeout_features::kernel::{Place, StepMeans, Summariser};
use stakeout_features::{Grid, Samples};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Where the peer's float clock begins.
const EPOCH_NS: i64 = 1_760_000_000_000_000_000;
const DURATION_NS: i64 = 120_000_000_000;
const GRID: Grid = Grid { first_ns: 0, stride_ns: 5_000_000_000, length_ns: 10_000_000_000, steps: 20, windows: 23 };
const SOURCES: [&str; 4] = ["cpu", "mem", "net", "power"];
const CHANNELS: usize = 46;
const SIX: [Statistic; 6] =
    [Statistic::Mean, Statistic::Std, Statistic::Min, Statistic::Max, Statistic::Last, Statistic::Slope];

fn main() -> Outcome<()> {
    let mut folder = None;
    let (mut repeat, mut write) = (1usize, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--repeat" => repeat = arguments.next().ok_or("--repeat needs a number")?.parse()?,
            "--write" => write = Some(PathBuf::from(arguments.next().ok_or("--write needs a folder")?)),
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let corpus = Corpus::open(&folder.ok_or("usage: window_telemetry FOLDER [--repeat N] [--write FOLDER]")?)?;

    let mut six = Output::new(&corpus, &SIX);
    let mut end_to_end = Vec::new();
    for _ in 0..repeat {
        let start = cpu_seconds();
        corpus.each_episode(|at, samples| six.cut(at, samples, true))?;
        end_to_end.push(cpu_seconds() - start);
    }

    let mut prepared = Vec::new();
    corpus.each_episode(|at, samples| prepared.push((at, samples.clone())))?;
    let kernel = |output: &mut Output, fill: bool| {
        let once = |_| {
            let start = cpu_seconds();
            for (at, samples) in &prepared {
                output.cut(*at, samples, fill);
            }
            cpu_seconds() - start
        };
        (0..repeat).map(once).collect::<Vec<f64>>()
    };
    let kernel_six = kernel(&mut six, true);
    let mut five = Output::new(&corpus, &Statistic::DEFAULT);
    let kernel_default = kernel(&mut five, false);
    if let Some(folder) = write {
        for (name, values) in [("six", &six.summary), ("tensor", &six.tensor), ("five", &five.summary)] {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            fs::write(folder.join(name).with_extension("bin"), bytes)?;
        }
    }
    let (episodes, rows) = (corpus.episodes, prepared.iter().map(|(_, samples)| samples.rows()).sum::<usize>());
    println!(
        "{{\"episodes\": {episodes}, \"source_rows\": {rows}, \"end_to_end\": {end_to_end:?}, \
         \"kernel\": {kernel_six:?}, \"kernel_default\": {kernel_default:?}}}"
    );
    Ok(())
}

/// Process CPU time in seconds.
fn cpu_seconds() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// Windows of all episodes.
struct Output {
    statistics: Vec<Statistic>,
    summary: Vec<f32>,
    tensor: Vec<f32>,
    means: StepMeans,
    summariser: Summariser,
}

impl Output {
    fn new(corpus: &Corpus, statistics: &[Statistic]) -> Self {
        Self {
            statistics: statistics.to_vec(),
            summary: vec![0.0; corpus.episodes * GRID.windows * statistics.len() * CHANNELS],
            tensor: vec![0.0; corpus.episodes * GRID.windows * CHANNELS * GRID.steps],
            means: StepMeans::default(),
            summariser: Summariser::default(),
        }
    }

    fn cut(&mut self, At { episode, first_channel }: At, samples: &Samples, fill_steps: bool) {
        let positions: Vec<usize> = (first_channel..first_channel + samples.columns()).collect();
        let place = Place::new(&positions, CHANNELS);
        self.means.compute(&GRID, samples);
        let width = GRID.windows * self.statistics.len() * CHANNELS;
        let summary = &mut self.summary[episode * width..][..width];
        self.summariser.write(&GRID, samples, &self.means, &self.statistics, &place, summary);
        if fill_steps {
            (0..samples.columns()).for_each(|column| fill(self.means.column_mut(column)));
        }
        let width = GRID.windows * CHANNELS * GRID.steps;
        self.means.write(&place, &mut self.tensor[episode * width..][..width]);
    }
}

/// Each empty step takes the one before it, leading ones the first.
fn fill(steps: &mut [f32]) {
    if !steps.iter().fold(false, |gap, step| gap | step.is_nan()) {
        return;
    }
    let mut previous = steps.iter().copied().find(|step| !step.is_nan()).unwrap_or(f32::NAN);
    for step in steps {
        if step.is_nan() {
            *step = previous;
        }
        previous = *step;
    }
}

/// Which episode and channels some samples are.
#[derive(Clone, Copy)]
struct At {
    episode: usize,
    first_channel: usize,
}

struct Corpus {
    folder: PathBuf,
    episodes: usize,
    /// Per host: its episodes with their starts.
    hosts: BTreeMap<i64, Vec<(i64, i64)>>,
    /// Offset and drift of a host's source.
    clocks: BTreeMap<(i64, String), (i64, f64)>,
}

impl Corpus {
    fn open(folder: &Path) -> Outcome<Self> {
        let mut table = Columns::default();
        table.read(&folder.join("episodes.parquet"))?;
        let [episode, host, t0] = ["episode", "host", "t0_ns"].map(|name| table.integers(name));
        let mut hosts: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for ((&episode, &host), &t0) in episode?.iter().zip(host?).zip(t0?) {
            hosts.entry(host).or_default().push((episode, t0));
        }
        let episodes = hosts.values().map(Vec::len).sum();
        table.read(&folder.join("clocks.parquet"))?;
        let (host, offset) = (table.integers("host")?, table.integers("offset_ns")?);
        let (source, drift) = (&table.texts, &table.doubles);
        let clocks = (host.iter().zip(source).zip(offset.iter().zip(drift)))
            .map(|((host, source), (offset, drift))| ((*host, source.clone()), (*offset, *drift)))
            .collect();
        Ok(Self { folder: folder.to_owned(), episodes, hosts, clocks })
    }

    /// Reads every file and visits the samples of every episode and source on the reference clock.
    fn each_episode(&self, mut visit: impl FnMut(At, &Samples)) -> Outcome<()> {
        let (mut table, mut samples) = (Columns::default(), Samples::default());
        for (host, episodes) in &self.hosts {
            let mut first_channel = 0;
            for source in SOURCES {
                table.read(&self.folder.join(format!("host={host}/{source}.parquet")))?;
                let &(offset, drift) =
                    self.clocks.get(&(*host, source.to_owned())).ok_or("a source without a clock")?;
                let (numbers, clock) = (table.integers("episode")?, table.integers("ts")?);
                let mut lo = 0;
                for &(episode, t0) in episodes {
                    let hi = lo + numbers[lo..].partition_point(|number| *number <= episode);
                    let reference = |ts: &i64| {
                        let t = (ts - EPOCH_NS - offset) as f64 / (1.0 + drift * 1e-6) - (t0 - EPOCH_NS) as f64;
                        (t as i64).clamp(0, DURATION_NS - 1)
                    };
                    let columns: Vec<&[f32]> = table.channels().map(|column| &column[lo..hi]).collect();
                    samples.fill(clock[lo..hi].iter().map(reference), &columns);
                    visit(At { episode: usize::try_from(episode)?, first_channel }, &samples);
                    lo = hi;
                }
                first_channel += table.channels().count();
            }
        }
        Ok(())
    }
}

/// The columns of one parquet file; buffers are kept from file to file.
#[derive(Default)]
struct Columns {
    integers: Vec<(String, Vec<i64>)>,
    floats: Vec<Vec<f32>>,
    used_floats: usize,
    doubles: Vec<f64>,
    texts: Vec<String>,
    narrow: Vec<i32>,
    levels: Vec<i16>,
}

impl Columns {
    fn read(&mut self, path: &Path) -> Outcome<()> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let reader = SerializedFileReader::new(file)?;
        self.integers.clear();
        self.doubles.clear();
        self.texts.clear();
        self.floats.iter_mut().for_each(Vec::clear);
        for group in 0..reader.num_row_groups() {
            let group = reader.get_row_group(group)?;
            self.used_floats = 0;
            for column in 0..group.num_columns() {
                self.levels.clear();
                let name = group.metadata().column(column).column_descr().name().to_owned();
                // No value is null; the levels say so and have to be read all the same.
                let levels = &mut self.levels;
                match group.get_column_reader(column)? {
                    ColumnReader::Int32ColumnReader(mut reader) => {
                        self.narrow.clear();
                        reader.read_records(usize::MAX, Some(levels), None, &mut self.narrow)?;
                        let wide = self.narrow.iter().map(|value| i64::from(*value));
                        named(&mut self.integers, name).extend(wide);
                    }
                    ColumnReader::Int64ColumnReader(mut reader) => {
                        let values = named(&mut self.integers, name);
                        reader.read_records(usize::MAX, Some(levels), None, values)?;
                    }
                    ColumnReader::FloatColumnReader(mut reader) => {
                        if self.floats.len() == self.used_floats {
                            self.floats.push(Vec::new());
                        }
                        let values = &mut self.floats[self.used_floats];
                        reader.read_records(usize::MAX, Some(levels), None, values)?;
                        self.used_floats += 1;
                    }
                    ColumnReader::DoubleColumnReader(mut reader) => {
                        reader.read_records(usize::MAX, Some(levels), None, &mut self.doubles)?;
                    }
                    ColumnReader::ByteArrayColumnReader(mut reader) => {
                        let mut values = Vec::new();
                        reader.read_records(usize::MAX, Some(levels), None, &mut values)?;
                        for value in values {
                            self.texts.push(value.as_utf8()?.to_owned());
                        }
                    }
                    _ => return Err(format!("{}: column {name} has an unexpected type", path.display()).into()),
                }
            }
        }
        Ok(())
    }

    fn integers(&self, name: &str) -> Outcome<&[i64]> {
        let found = self.integers.iter().find(|(column, _)| column == name);
        Ok(&found.ok_or_else(|| format!("no column {name}"))?.1)
    }

    fn channels(&self) -> impl Iterator<Item = &Vec<f32>> {
        self.floats.iter().take(self.used_floats)
    }
}

fn named(columns: &mut Vec<(String, Vec<i64>)>, name: String) -> &mut Vec<i64> {
    let at = columns.iter().position(|(column, _)| *column == name).unwrap_or_else(|| {
        columns.push((name, Vec::new()));
        columns.len() - 1
    });
    &mut columns[at].1
}
