//! How long each table is kept.

use super::document::Section;

/// Days for which each table's rows are kept; `None` is without limit. The defaults are the contract's (§7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionSettings {
    /// customer_profile; the last day of each month stays beyond them.
    pub customer_profile_days: Option<u32>,
    /// exports and export_members.
    pub exports_days: Option<u32>,
    /// rejects.
    pub rejects_days: Option<u32>,
    /// segment_members.
    pub segment_members_days: Option<u32>,
    /// lifecycle.
    pub lifecycle_days: Option<u32>,
    /// segment_sizes.
    pub segment_sizes_days: Option<u32>,
    /// segment_changes.
    pub segment_changes_days: Option<u32>,
    /// lifecycle_transitions.
    pub lifecycle_transitions_days: Option<u32>,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            customer_profile_days: Some(35),
            exports_days: Some(3 * 365),
            rejects_days: Some(30),
            segment_members_days: Some(400),
            lifecycle_days: Some(400),
            segment_sizes_days: None,
            segment_changes_days: None,
            lifecycle_transitions_days: None,
        }
    }
}

impl RetentionSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let mut kept = Self::default();
        for (key, days) in [
            ("customer_profile", &mut kept.customer_profile_days),
            ("exports", &mut kept.exports_days),
            ("rejects", &mut kept.rejects_days),
            ("segment_members", &mut kept.segment_members_days),
            ("lifecycle", &mut kept.lifecycle_days),
            ("segment_sizes", &mut kept.segment_sizes_days),
            ("segment_changes", &mut kept.segment_changes_days),
            ("lifecycle_transitions", &mut kept.lifecycle_transitions_days),
        ] {
            if let Some(written) = section.integer(key, 1..=36_500) {
                *days = u32::try_from(written).ok();
            }
        }
        section.finish();
        kept
    }
}
