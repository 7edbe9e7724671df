//! What exports need beside a command line.

use super::document::Section;

/// What `[exports]` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportSettings {
    /// What advertising needs where `ads_consent` is not landed; no default, since no shop's law is another's.
    pub ads_requires: Option<AdsRequires>,
    /// The share of all customers whom no export writes, so that everything together can be measured (0).
    pub holdout: f64,
    /// The salt of that share; the project's name where none is given.
    pub holdout_salt: Option<String>,
}

/// What advertising needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdsRequires {
    /// `ads_consent = granted`.
    AdsConsent,
    /// Consent to e-mail.
    EmailConsent,
    /// Nothing.
    None,
}

impl AdsRequires {
    const WORDS: [(&str, AdsRequires); 3] = [
        ("ads_consent", AdsRequires::AdsConsent),
        ("email_consent", AdsRequires::EmailConsent),
        ("none", AdsRequires::None),
    ];
}

impl ExportSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let ads_requires = section.choice("ads_requires", &AdsRequires::WORDS);
        let holdout = section.share("holdout").unwrap_or(0.0);
        let holdout_salt = section.text("holdout_salt").map(|salt| salt.value);
        section.finish();
        Self { ads_requires, holdout, holdout_salt }
    }
}
