use proptest::prelude::*;
use stakeout_features::{CutScratch, Inputs, cut};

use crate::generate;

proptest! {
    #[test]
    fn content_and_nothing_else((schema, trace) in generate::schema().prop_flat_map(generate::trace), pick: prop::sample::Index) {
        let digests = |trace| cut(trace, &schema, Inputs::default(), &mut CutScratch::default()).expect("a sound trace");
        let before = digests(&trace);
        for (digest, observed) in before.digests.iter().zip(&before.observed) {
            prop_assert_eq!(*digest == 0, *observed == 0);
        }

        // The same run at another time of day.
        let mut moved = trace.clone();
        let by = 1000 * schema.window.stride_ns;
        moved.episode.span = (trace.episode.span.0 + by, trace.episode.span.1 + by);
        moved.sources.iter_mut().flat_map(|s| &mut s.t_wall_ns).for_each(|t| *t += by);
        prop_assert_eq!(&digests(&moved).digests, &before.digests);

        // One other value: exactly the windows that hold its row change.
        let mut changed = trace.clone();
        let Some(source) = changed.sources.iter_mut().find(|s| !s.values.is_empty()) else { return Ok(()) };
        let cell = pick.index(source.values.len());
        let t = source.t_wall_ns[cell / source.channels.len()];
        source.values[cell] = if source.values[cell] == 17.0 { 18.0 } else { 17.0 };
        let after = digests(&changed);
        for (window, &t0) in before.t0_ns.iter().enumerate() {
            let holds = t >= t0 && t < (t0 + schema.window.length_ns).min(trace.episode.span.1);
            prop_assert_eq!(before.digests[window] != after.digests[window], holds);
        }
    }
}
