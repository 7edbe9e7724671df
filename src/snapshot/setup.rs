//! From settings to what a day is computed with: the lake, the engine, and where the landed tables are.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};

use crate::config::{FieldSettings, FieldType, Recurring, Settings};
use crate::engine::{Engine, Limits};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::lake::forgotten::Forgotten;
use crate::land::{self, Source, TableOptions};
use crate::schema::landed::{Reading, Table};
use crate::{lifecycle, profile};

/// The lake's key, which is never printed.
#[derive(Clone)]
struct Key(Vec<u8>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The clouds' usual variables, which are never printed.
#[derive(Clone, Default)]
pub struct Cloud(BTreeMap<String, String>);

impl std::fmt::Debug for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl std::ops::Deref for Cloud {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A project that is open: its lake, an engine that knows it, and where its landed tables are.
#[derive(Debug)]
pub struct Project {
    /// What the project settles.
    pub settings: Settings,
    /// The lake.
    pub lake: Lake,
    /// The engine, with the lake registered and every function known.
    pub engine: Engine,
    /// Where the landed tables are.
    pub sources: Vec<Source>,
    /// Who was forgotten when it was opened.
    pub forgotten: Arc<Forgotten>,
    /// What other stores than the lake's are opened with.
    pub cloud: Cloud,
    /// Where landed tables lie elsewhere than under the lake.
    places: Vec<Lake>,
    key: Key,
}

impl Project {
    /// Opens a project. `cloud` holds the clouds' usual variables. With `writes` the lake is probed first, and its key is
    /// made where there is none.
    ///
    /// # Errors
    /// `lake.*` for a lake that is no place, cannot be written, or does not keep what it says.
    pub async fn open(settings: Settings, cloud: &BTreeMap<String, String>, writes: bool) -> Result<Self> {
        let lake = Lake::open(settings.lake.url.as_str(), cloud, &settings.root)?;
        let configured = settings.lake.key.as_ref().map(|key| key.reveal());
        let key = if writes {
            Box::pin(lake.probe()).await?;
            lake.lake_key(configured).await?.to_vec()
        } else {
            lake.known_key(configured).await?.map(Vec::from).unwrap_or_default()
        };
        Box::pin(Self::over(settings, lake, &key, cloud)).await
    }

    /// A project over a lake that is open, and its key.
    ///
    /// # Errors
    /// What the store refuses, and tables that lie at no place.
    pub async fn over(settings: Settings, lake: Lake, key: &[u8], cloud: &BTreeMap<String, String>) -> Result<Self> {
        let forgotten = Arc::new(Forgotten::read(&lake, key).await?);
        let mut functions = land::read::functions();
        functions.push(forgotten.function());
        functions.extend(lifecycle::functions());
        functions.push(profile::guest_id_function(key));
        let limits = Limits { memory: settings.engine.memory_limit, threads: settings.engine.threads, spill: None };
        let engine = Engine::new(limits, functions, Some(settings.root.join("sql")))?;
        let engine = engine.with_aggregate(profile::favorite_function());
        lake.register(engine.runtime());
        let (mut sources, mut places) = (Vec::new(), Vec::new());
        for table in Table::ALL {
            let written = settings.table(table).url;
            let source = match &written {
                None => Source {
                    table,
                    address: lake.store_url(),
                    store: lake.store(),
                    prefix: lake.path(&format!("landing/{}", table.name())),
                    pattern: None,
                },
                Some(written) => {
                    let (source, place) = elsewhere(table, written, cloud, &settings, &engine)?;
                    places.push(place);
                    source
                }
            };
            sources.push(source);
        }
        let (cloud, key) = (Cloud(cloud.clone()), Key(key.to_vec()));
        Ok(Self { settings, lake, engine, sources, forgotten, cloud, places, key })
    }

    /// How many answers the stores have given that it reads and writes: what waits for a slow one gets on.
    pub fn answers(&self) -> u64 {
        self.lake.answers() + self.places.iter().map(Lake::answers).sum::<u64>()
    }

    /// The lake's key; none of a project that was opened for reading alone.
    pub fn key(&self) -> Option<&[u8]> {
        (!self.key.0.is_empty()).then_some(self.key.0.as_slice())
    }

    /// A landed file's name, as [`Source::name`] gives it, as it is kept: below the lake's root where it lies there, so
    /// that a lake which moves is still the same lake.
    pub fn below_lake(&self, name: &str) -> String {
        let lake = self.sources.iter().find(|source| source.address == self.lake.store_url());
        let root = lake.map(|source| source.name(&self.lake.path("")));
        let below = root.as_ref().and_then(|root| name.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/'));
        below.unwrap_or(name).to_owned()
    }

    /// Where a table's files are looked for, as people write it.
    pub fn place_of(&self, table: Table) -> String {
        if let Some(written) = self.settings.table(table).url {
            return written;
        }
        let url = &self.settings.lake.url;
        let lake = url.to_file_path().map_or_else(|()| url.to_string(), |folder| folder.display().to_string());
        format!("{}/landing/{}", lake.trim_end_matches('/'), table.name())
    }

    /// A warning for every table that `[tables]` says to be somewhere, and where nothing is.
    pub fn unfound(&self, landed: &land::Landed) -> Vec<String> {
        let written = self.settings.tables.iter().filter(|(_, settings)| settings.url.is_some());
        written
            .filter(|(table, _)| landed.table(**table).files.is_empty())
            .map(|(table, _)| format!("`[tables.{}] url` names no file: {}", table.name(), self.place_of(*table)))
            .collect()
    }

    /// What reading the landed tables depends on. `present` is the run's present: later times are faulty.
    pub fn landing(&self, as_of: NaiveDate, present: DateTime<Utc>) -> land::Options {
        let settings = &self.settings;
        let mut tables = BTreeMap::new();
        for table in Table::ALL {
            let own = settings.table(table);
            let mut columns = own.columns;
            if table == Table::Customers {
                let renamed =
                    settings.fields.iter().filter_map(|(name, field)| Some((name.clone(), field.column.clone()?)));
                columns.extend(renamed);
            }
            let options = TableOptions {
                columns,
                id_prefix: own.id_prefix,
                money_minor: own.money_minor,
                full_dump: own.full_dump,
            };
            tables.insert(table, options);
        }
        let fields = settings.fields.iter().filter_map(|(name, field)| Some((name.clone(), reading(field)?)));
        land::Options {
            zone: settings.project.zone,
            currency: settings.project.currency.clone(),
            as_of,
            // A clock that is a day ahead is a clock, not a fault.
            horizon: present + chrono::TimeDelta::days(1),
            max_reject_ratio: settings.landing.max_reject_ratio,
            lookback_days: settings.landing.lookback_days,
            tables,
            statuses: land::statuses(&settings.orders.status_aliases),
            fields: fields.collect(),
            without_forgotten: !self.forgotten.is_empty(),
        }
    }

    /// What the profile depends on. `exclude` is the compiled `[customers] exclude`, `kept` what later steps read of rows.
    pub fn profiling(&self, as_of: NaiveDate, exclude: Option<String>, kept: profile::KeptRows) -> profile::Options {
        let settings = &self.settings;
        let contact = settings.fields.iter().filter(|(_, field)| field.contact).map(|(name, _)| name.clone());
        profile::Options {
            zone: settings.project.zone,
            as_of,
            currency: settings.project.currency.clone(),
            counted: settings.orders.counted.iter().cloned().collect(),
            exclude,
            ignore_renewals: settings.lifecycle.recurring == Recurring::Ignore,
            contact_fields: contact.collect(),
            kept,
        }
    }
}

fn reading(field: &FieldSettings) -> Option<Reading> {
    Some(match field.kind? {
        FieldType::Text | FieldType::Choice => Reading::Text,
        FieldType::Number => Reading::Float,
        FieldType::Date => Reading::Date,
        FieldType::Boolean => Reading::Boolean,
        FieldType::List => Reading::List,
    })
}

/// A table that lies elsewhere than under the lake: a folder, a file or a glob, as a path or a URL.
fn elsewhere(
    table: Table,
    written: &str,
    cloud: &BTreeMap<String, String>,
    settings: &Settings,
    engine: &Engine,
) -> Result<(Source, Lake)> {
    let wild = written.find(['*', '?', '[']);
    let (base, is_pattern) = match wild {
        Some(at) => (written[..at].rsplit_once('/').map_or("", |(folder, _)| folder), true),
        // A single file is a pattern of one.
        None if written.ends_with(".parquet") => (written.rsplit_once('/').map_or("", |(folder, _)| folder), true),
        None => (written, false),
    };
    let base = if base.is_empty() { "/" } else { base };
    let place = Lake::open(base, cloud, &settings.root)?;
    place.register(engine.runtime());
    let prefix = place.path("");
    let pattern = if is_pattern {
        let below = written[base.len()..].trim_start_matches('/');
        let full = if prefix.as_ref().is_empty() {
            below.to_owned()
        } else {
            format!("{}/{below}", glob::Pattern::escape(prefix.as_ref()))
        };
        let pattern = glob::Pattern::new(&full).map_err(|error| {
            Error::definition("config.bad_url", format!("`{written}` is no pattern of files: {error}"))
                .with_hint(format!("write `**/*.parquet` after the folder in `[tables.{}] url`", table.name()))
        })?;
        Some(pattern)
    } else {
        None
    };
    Ok((Source { table, address: place.store_url(), store: place.store(), prefix, pattern }, place))
}
