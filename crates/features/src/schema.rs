//! The schema that this extractor fills.

use stakeout_core::{ChannelSpec, ClassList, CoreError, Schema, View, WindowSpec};

/// Version of the code that computes windows. Raised whenever its output changes for any input, so that a checkpoint
/// never meets numbers that mean something else than those it was trained on.
pub const EXTRACTOR_VERSION: u32 = 1;

/// The schema of those `channels` that `view` shows, at this extractor's version.
///
/// # Errors
/// [`CoreError::Invalid`] as for [`Schema::new`].
pub fn schema(
    channels: impl IntoIterator<Item = ChannelSpec>,
    view: View,
    window: WindowSpec,
    classes: ClassList,
) -> Result<Schema, CoreError> {
    Schema::new(channels, view, window, classes, EXTRACTOR_VERSION)
}
