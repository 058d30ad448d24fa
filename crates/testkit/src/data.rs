//! Tiny synthetic data: windows with labels that can be learnt, and sample indices with everything that is awkward.

use ndarray::{Array2, Array3, s};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use stakeout_core::window::SECOND_NS;
use stakeout_core::{
    ChannelKind, ChannelSpec, ClassList, EpisodeRef, Partial, SampleIndex, Schema, Side, Source, Statistic, View,
    WindowKey, WindowSpec, WindowTable,
};

/// Windows and the label of each.
#[derive(Debug, Clone)]
pub struct SmallWindows {
    /// Summary (mean, std, last) and tensor of every window.
    pub windows: WindowTable,
    /// One class id a window; every class in turn, so that all are there from `classes` rows on.
    pub labels: Vec<u16>,
}

/// `rows` windows of `classes` classes over `channels` channels of `steps` one-second steps, summary and tensor.
///
/// Channel `c` lies two noise deviations higher where `label % channels == c`, so that labels can be learnt but not
/// without error; where there are more classes than channels, the sign tells them apart. One value in twenty is missing
/// (NaN), in one row of sixteen a whole channel is, and one row of eight is shorter than `steps`.
///
/// # Panics
/// When `classes` < 2, or `channels` or `steps` is 0.
pub fn small_windows(seed: u64, rows: usize, classes: usize, channels: usize, steps: usize) -> SmallWindows {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let labels: Vec<u16> = (0..rows).map(|row| (row % classes) as u16).collect();
    let mut tensor = Array3::from_elem((rows, channels, steps), f32::NAN);
    let mut summary = Array2::from_elem((rows, 3 * channels), f32::NAN);
    let mut lengths = Vec::with_capacity(rows);
    for (row, &label) in labels.iter().enumerate() {
        let length = if chance(&mut rng, 8) { 1 + below(&mut rng, steps) } else { steps };
        lengths.push(length as u32);
        let lost = chance(&mut rng, 16).then(|| below(&mut rng, channels));
        for channel in 0..channels {
            let sign = if (usize::from(label) / channels).is_multiple_of(2) { 1.0 } else { -1.0 };
            let mean = if usize::from(label) % channels == channel { 2.0 * sign } else { 0.0 };
            for step in 0..length {
                let value = mean + noise(&mut rng);
                if !chance(&mut rng, 20) && lost != Some(channel) {
                    tensor[(row, channel, step)] = value;
                }
            }
            let seen: Vec<f32> = tensor.slice(s![row, channel, ..]).iter().copied().filter(|v| !v.is_nan()).collect();
            if let Some(&last) = seen.last() {
                let n = seen.len() as f32;
                let mean = seen.iter().sum::<f32>() / n;
                let variance = seen.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n;
                for (statistic, value) in [mean, variance.sqrt(), last].into_iter().enumerate() {
                    summary[(row, statistic * channels + channel)] = value;
                }
            }
        }
    }
    let windows = WindowTable::new(small_schema(classes, channels, steps), Some(summary), Some(tensor), lengths);
    SmallWindows { windows: windows.expect("the arrays follow the schema"), labels }
}

/// The schema of [`small_windows`].
///
/// # Panics
/// As [`small_windows`].
pub fn small_schema(classes: usize, channels: usize, steps: usize) -> Schema {
    let names: Vec<String> = (0..classes).map(|class| format!("class-{class}")).collect();
    let classes = ClassList::try_from(names).expect("at least two classes");
    let channels = (0..channels).map(|channel| ChannelSpec {
        name: format!("guest.channel_{channel}"),
        source: Source::Guest,
        field: format!("channel_{channel}"),
        kind: ChannelKind::Level,
        unit: "unit".into(),
        deployable: true,
        about: String::new(),
    });
    let window = WindowSpec {
        length_ns: steps as i64 * SECOND_NS,
        stride_ns: steps as i64 * SECOND_NS,
        steps: steps as u32,
        partial: Partial::Mask,
        statistics: vec![Statistic::Mean, Statistic::Std, Statistic::Last],
        ..WindowSpec::default()
    };
    Schema::new(channels, View::Realistic, window, classes, 1).expect("the small schema is valid")
}

/// The size of a [`small_index`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexShape {
    /// Hosts.
    pub hosts: usize,
    /// Sample names.
    pub samples: usize,
    /// Profiles; sample `i` has profile `i % profiles`.
    pub profiles: usize,
    /// Classes.
    pub classes: usize,
    /// Episodes.
    pub episodes: usize,
    /// Windows of each episode.
    pub windows: usize,
}

impl Default for IndexShape {
    fn default() -> Self {
        Self { hosts: 6, samples: 12, profiles: 4, classes: 3, episodes: 48, windows: 6 }
    }
}

/// An index of overlapping windows (10 s every 5 s) with what real ones have: the same program under two names, unknown
/// hashes, episodes that run at the same time, given sides that some episodes lack, windows without a value (digest 0),
/// identical windows inside an episode, names that are no file names, and a host, sample and profile without windows.
/// No content stands in two episodes.
///
/// # Panics
/// When a size is 0.
pub fn small_index(seed: u64, shape: IndexShape) -> SampleIndex {
    let IndexShape { hosts, samples, profiles, classes, episodes, windows } = shape;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let names = |what: &str, n: usize| (0..=n).map(|i| format!("{what}-{i}")).collect::<Vec<_>>();
    let mut index = SampleIndex {
        classes: (0..classes).map(|class| format!("class-{class}")).collect(),
        hosts: names("host", hosts),
        samples: names("sample", samples),
        profiles: names("profile", profiles),
        episodes: Vec::new(),
        windows: Vec::new(),
        window_ns: 10 * SECOND_NS,
    };
    index.hosts[0] = "../HOST\u{202e}".into();
    for episode in 0..episodes {
        // The first episodes go round, so that every host and sample has one where there are episodes enough.
        let pick = |rng: &mut Xoshiro256PlusPlus, n: usize| if episode < n { episode } else { below(rng, n) };
        let (host, sample) = (pick(&mut rng, hosts), pick(&mut rng, samples));
        // Samples 0 and 1 are one program; every fifth has no known hash.
        let program = if sample == 1 { 0 } else { sample };
        let start = below(&mut rng, 1 + episodes / 2) as i64 * 60 * SECOND_NS;
        let onset = below(&mut rng, windows + 1);
        let t0 = |window: usize| start + window as i64 * 5 * SECOND_NS;
        let given = [Some(Side::Train), Some(Side::Train), Some(Side::Validation), Some(Side::Test), None];
        index.episodes.push(EpisodeRef {
            id: format!("{episode:026}"),
            host: host as u32,
            sample: sample as u32,
            profile: (program % profiles) as u32,
            sample_sha256: (sample % 5 != 4).then(|| format!("{program:064x}")),
            given: given[(program + program / 5) % 5],
            span: (start, t0(windows + 1)),
            onset_ns: (onset < windows).then(|| t0(onset)),
        });
        for window in 0..windows {
            let digest = match below(&mut rng, 8) {
                0 => 0,
                1 => 1 + episode as u128,
                _ => (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64()),
            };
            let label = if window < onset { 0 } else { (program + window - onset) % classes };
            index.windows.push(WindowKey { episode: episode as u32, t0_ns: t0(window), label: label as u16, digest });
        }
    }
    index
}

fn below(rng: &mut Xoshiro256PlusPlus, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}

fn chance(rng: &mut Xoshiro256PlusPlus, one_in: usize) -> bool {
    below(rng, one_in) == 0
}

/// Roughly normal with unit variance: the sum of twelve uniform numbers, centred (Irwin–Hall).
fn noise(rng: &mut Xoshiro256PlusPlus) -> f32 {
    (0..12).map(|_| (rng.next_u64() >> 40) as f32 / (1u32 << 24) as f32).sum::<f32>() - 6.0
}

#[cfg(test)]
mod tests {
    use stakeout_core::{Batch, InputKind, Windows};

    use super::*;

    /// A rule that knows how the windows were made is right far more often than chance, and not always.
    #[test]
    fn labels_can_be_learnt_but_not_without_error() {
        let (classes, channels) = (4, 3);
        let SmallWindows { windows, labels } = small_windows(7, 400, classes, channels, 4);
        let mut batch = Batch::new(InputKind::Summary, windows.schema().geometry());
        let rows: Vec<usize> = (0..windows.len()).collect();
        windows.gather(&rows, &mut batch).unwrap();
        let mut right = 0;
        for &row in &rows {
            let mean = |channel: usize| Some(batch.row(row)[channel]).filter(|v| !v.is_nan()).unwrap_or(0.0);
            let score = |class: usize| if class < channels { mean(class) } else { -mean(class - channels) };
            let best = (0..classes).max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap();
            right += usize::from(best == usize::from(labels[row]));
        }
        assert!((300..400).contains(&right), "{right} of 400");
    }

    #[test]
    fn something_is_missing_and_some_windows_are_short() {
        let SmallWindows { windows, .. } = small_windows(7, 200, 2, 3, 4);
        let mut batch = Batch::new(InputKind::Tensor, windows.schema().geometry());
        let rows: Vec<usize> = (0..windows.len()).collect();
        windows.gather(&rows, &mut batch).unwrap();
        assert!(batch.lengths.iter().any(|length| *length < 4));
        for &row in &rows {
            for series in batch.row(row).chunks_exact(4) {
                assert!(series[batch.lengths[row] as usize..].iter().all(|v| v.is_nan()), "padding is not observed");
            }
        }
        let lost = |row: &usize| batch.row(*row).chunks_exact(4).any(|series| series.iter().all(|v| v.is_nan()));
        assert!(rows.iter().any(lost));
    }

    #[test]
    fn the_seed_decides() {
        let values = |seed| {
            let windows = small_windows(seed, 20, 2, 2, 3).windows;
            let mut batch = Batch::new(InputKind::Tensor, windows.schema().geometry());
            windows.gather(&(0..20).collect::<Vec<_>>(), &mut batch).unwrap();
            batch.values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
    }
}
