//! Rows: the keys that every line of a telemetry file carries.

/// The keys of every telemetry row that are not channels.
pub const ROW_KEYS: [&str; 4] = ["t_mono_ns", "t_wall_ns", "source", "available_in_deployment"];

/// Whether a channel may not use this field name.
pub(crate) fn is_reserved(field: &str) -> bool {
    ROW_KEYS.contains(&field)
}
