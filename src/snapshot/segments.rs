//! The project's segments for one day: read, checked against what is landed, and computed together.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use chrono::NaiveDate;
use datafusion::prelude::SessionContext;
use roaring::RoaringBitmap;
use sha2::{Digest, Sha256};

use super::rows;
use super::setup::Project;
use crate::config::{Faults, FieldType};
use crate::diagnostic::{Diagnostic, Severity};
use crate::error::{Error, Result};
use crate::lake::snapshots::Snapshots;
use crate::land::Landed;
use crate::lifecycle;
use crate::profile::catalogue::{self, Catalogue, FieldKind, Property};
use crate::profile::computed::{self, Computed as ComputedAttributes};
use crate::profile::{Behind, KeptRows, MADE_OF_ROWS, STATEMENTS, property_column};
use crate::schema::landed::Table;
use crate::segments::compile::{Family, Scope, Shared, Tables, standalone_sql};
use crate::segments::definition::{Definitions, Fault, Segments};
use crate::segments::evaluate::evaluate;

/// The faults of segment files as one error, each with its text.
pub fn faults_error(faults: Vec<Fault>) -> Error {
    let texts = faults.into_iter().filter(Fault::is_error).map(|fault| crate::config::Fault::Text {
        origin: fault.origin,
        source: fault.source,
        diagnostic: fault.diagnostic,
    });
    Faults::new(texts.collect()).into()
}

/// The project's segment files as they are; [`Definitions::check`] gives their faults.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn definitions(project: &Project) -> Result<Definitions> {
    Definitions::load(&project.settings.root.join("sql").join("segments"))
}

/// What a query of this project can name, its computed attributes included, as far as `landed` tells.
///
/// # Errors
/// Every fault of the computed attributes.
pub async fn catalogue(project: &Project, landed: &Landed) -> Result<(Catalogue, ComputedAttributes)> {
    let (catalogue, computed, faults) = Box::pin(catalogue_and_faults(project, landed)).await?;
    if faults.is_empty() {
        return Ok((catalogue, computed));
    }
    Err(Faults::new(faults.into_iter().map(crate::config::Fault::Other).collect()).into())
}

/// What a query of this project can name, as far as the computed attributes are in order, and the faults of those that
/// are not.
///
/// # Errors
/// Files that cannot be read.
pub async fn catalogue_and_faults(
    project: &Project,
    landed: &Landed,
) -> Result<(Catalogue, ComputedAttributes, Vec<Error>)> {
    let catalogue = landed_catalogue(project, landed);
    let files = computed::files(&project.settings.root)?;
    let contact = project.settings.fields.iter().filter(|(_, field)| field.contact).map(|(name, _)| name.clone());
    let contact = contact.collect();
    let checked = computed::check(&project.engine, files, landed, &contact, &catalogue);
    let (computed, faults) = Box::pin(checked).await?;
    Ok((catalogue.with_computed(&computed.attributes), computed, faults))
}

/// What a query of this project can name without its computed attributes.
fn landed_catalogue(project: &Project, landed: &Landed) -> Catalogue {
    let customers = landed.table(Table::Customers);
    let mut properties: Vec<Property> = customers
        .custom
        .iter()
        .map(|(name, reading)| Property { name: property_column(name), data_type: reading.data_type() })
        .collect();
    // Where it is not landed, the profile has it from the subscription events.
    let subscription = "product_subscription_status";
    if !customers.custom.contains_key(subscription) {
        properties.push(Property { name: subscription.to_owned(), data_type: DataType::Utf8View });
    }
    let present = landed
        .tables
        .iter()
        .filter(|(_, summary)| !summary.files.is_empty())
        .map(|(table, summary)| (table.name().to_owned(), summary.present.clone()))
        .collect();
    let rows = [Table::Orders, Table::OrderItems, Table::Events].map(|table| {
        let mut custom = landed.table(table).custom;
        custom.retain(|name, _| !MADE_OF_ROWS.contains(&name.as_str()));
        (table, custom)
    });
    Catalogue::new(&properties, &fields(project), Some(present)).with_row_columns(rows.into_iter().collect())
}

/// The project's declared fields, in the catalogue's words.
pub fn fields(project: &Project) -> BTreeMap<String, catalogue::Field> {
    let kind = |kind: FieldType| match kind {
        FieldType::Text => FieldKind::Text,
        FieldType::Number => FieldKind::Number,
        FieldType::Date => FieldKind::Date,
        FieldType::Boolean => FieldKind::Boolean,
        FieldType::List => FieldKind::List,
        FieldType::Choice => FieldKind::Choice,
    };
    let one = |field: &crate::config::FieldSettings| catalogue::Field {
        label: field.label.clone(),
        kind: field.kind.map(kind),
        options: field.options.clone(),
        required: field.required,
        column: field.column.clone(),
        contact: field.contact,
    };
    project.settings.fields.iter().map(|(name, field)| (name.clone(), one(field))).collect()
}

/// The segments of a day, ready to be computed.
#[derive(Debug)]
pub struct Prepared {
    /// The checked segments.
    pub segments: Segments,
    /// The day and zone of their dates.
    pub scope: Scope,
    /// Everything that they ask, each thing once.
    shared: Shared,
    /// SQL over `landed_customers` that names the customers whom `[customers] exclude` leaves out.
    pub exclude: Option<String>,
    /// What is well written but hardly meant.
    pub warnings: Vec<String>,
    described: Vec<Described>,
    computed: BTreeMap<String, String>,
}

#[derive(Debug)]
pub(super) struct Described {
    pub(super) id: String,
    pub(super) query: String,
    pub(super) hash: String,
    pub(super) goal_days: i64,
    row: rows::Definition,
}

impl Described {
    pub(super) fn row(&self) -> rows::Definition {
        self.row.clone()
    }
}

/// Checks the project's segments and settings against the catalogue.
///
/// # Errors
/// Every fault of every segment at once; `config.exclude` for a query of `[customers] exclude` that is wrong.
pub fn prepare(
    project: &Project,
    definitions: Definitions,
    catalogue: &Catalogue,
    as_of: NaiveDate,
) -> Result<Prepared> {
    let scope = Scope { zone: project.settings.project.zone, as_of };
    let segments = definitions.check(catalogue, as_of).map_err(faults_error)?;
    let hashes = segments.definition_hashes(&environment(project));
    let mut described = Vec::new();
    for segment in segments.iter() {
        let own = &segment.definition;
        let hash = hashes.get(&own.id).cloned().unwrap_or_default();
        described.push(Described {
            id: own.id.clone(),
            query: own.query.canonical(),
            hash: hash.clone(),
            goal_days: own.goal_days.into(),
            row: rows::Definition {
                segment: own.id.clone(),
                name: own.name.clone(),
                description: own.description.clone(),
                owner: own.owner.clone(),
                store: own.store.clone(),
                tags: own.tags.clone(),
                query: own.query.canonical(),
                sql: segments.sql(&own.id, scope, &Tables::default())?,
                priority: own.priority.map(i64::from),
                goal: own.goal.as_ref().map(|goal| goal.canonical()),
                hash,
                defined_on: as_of,
            },
        });
    }
    let exclude = exclude(project, &segments, catalogue, scope)?;
    let warnings = segments.warnings().iter().map(|fault| fault.to_error().to_string()).collect();
    let computed = catalogue
        .attributes()
        .iter()
        .filter_map(|attribute| Some((attribute.name.clone(), attribute.definition.clone()?)));
    let shared = segments.shared(scope, &Tables::of_the_night())?;
    Ok(Prepared { segments, scope, shared, exclude, warnings, described, computed: computed.collect() })
}

impl Prepared {
    /// What the profile has to keep for the segments and for the project's `own` attributes: columns of events, and columns
    /// of orders and their lines that the contract does not know.
    pub(super) fn kept_rows(&self, landed: &Landed, own: &ComputedAttributes) -> KeptRows {
        let events = self.shared.passes.iter().filter(|pass| matches!(pass.family, Family::Events | Family::Abandoned));
        let custom = self.segments.custom_row_columns();
        let of = |table: Table| {
            let known = landed.table(table).custom;
            let read = own.reads(table.name()).filter(|column| known.contains_key(*column));
            let read = read.filter(|column| !MADE_OF_ROWS.contains(column));
            custom.get(table.name()).into_iter().flatten().copied().chain(read).map(str::to_owned).collect()
        };
        KeptRows {
            events: Some(events.flat_map(|pass| pass.columns.iter().cloned()).collect()),
            orders: of(Table::Orders),
            lines: of(Table::OrderItems),
        }
    }

    /// Which rows behind the profile the segments ask about.
    pub(super) fn behind(&self) -> Behind {
        let has = |family: Family| self.shared.passes.iter().any(|pass| pass.family == family);
        Behind { lines: has(Family::Lines), events: has(Family::Events) || has(Family::Abandoned) }
    }

    /// Each segment's definition hash, by id.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.described.iter().map(|definition| (definition.id.as_str(), definition.hash.as_str()))
    }

    /// Each computed attribute's definition hash, by name.
    pub(super) fn computed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.computed.iter().map(|(name, hash)| (name.as_str(), hash.as_str()))
    }

    pub(super) fn definition(&self, id: &str) -> Result<&Described> {
        self.described
            .iter()
            .find(|definition| definition.id == id)
            .ok_or_else(|| Error::internal("snapshot.segment", format!("the segment `{id}` was not prepared")))
    }
}

/// What every answer depends on beside the queries themselves.
fn environment(project: &Project) -> String {
    let mut text = project.settings.fingerprint();
    for statement in STATEMENTS.iter().chain(&lifecycle::statements::STATEMENTS) {
        if let Some(path) = project.engine.override_of(statement)
            && let Ok(own) = std::fs::read(path)
        {
            text.push_str(statement.name);
            text.push_str(&hex::encode(Sha256::digest(own)));
        }
    }
    text
}

fn exclude(project: &Project, segments: &Segments, catalogue: &Catalogue, scope: Scope) -> Result<Option<String>> {
    let Some(query) = &project.settings.customers.exclude else { return Ok(None) };
    let (rule, found) = segments.check_query(query, catalogue, scope.as_of);
    let wrong = |found: Diagnostic| {
        let error =
            Error::definition(found.code, format!("`[customers] exclude`: {}", found.message)).in_file("alluvial.toml");
        match found.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    };
    if let Some(first) = found.into_iter().find(|found| found.severity == Severity::Error) {
        return Err(wrong(first));
    }
    let Some(rule) = rule else { return Ok(None) };
    // Customers are left out before anything is counted: only what they were landed with can say so.
    if !rule.references().is_empty() || !rule.row_tests().is_empty() {
        let message = "a query of whom to leave out names no other segment and no function";
        let hint = "name landed columns of customers only, such as `customer_tags CONTAINS 'staff'`";
        return Err(wrong(Diagnostic::error("config.exclude", 0..0, message).with_hint(hint)));
    }
    for test in rule.tests() {
        let computed = test.attribute.definition.is_some();
        let landed = !computed && test.attribute.landed.iter().all(|column| column.starts_with("customers."));
        if !landed {
            let message = format!("`{}` is not landed with the customer", test.attribute.name);
            let hint = "name landed columns of customers only, such as `customer_tags CONTAINS 'staff'`";
            return Err(wrong(Diagnostic::error("config.exclude", 0..0, message).with_hint(hint)));
        }
    }
    let landed = || "landed_customers".to_owned();
    let tables = Tables { profile: landed(), contacts: landed(), ..Tables::default() };
    standalone_sql(&rule, &BTreeMap::new(), scope, &tables).map(Some)
}

/// Members below which a holdout of a tenth is fewer than 30 people, whose share of buyers tells next to nothing.
const TELLING_MEMBERS: u64 = 300;

/// The warning that segments with a goal have too few members for a holdout of a tenth to tell whether it was reached
/// because of what was sent.
pub(super) fn too_small<'a>(sizes: impl Iterator<Item = (&'a str, u64)>, prepared: &Prepared) -> Option<String> {
    let with_goal = |id: &str| prepared.definition(id).is_ok_and(|own| own.row.goal.is_some());
    let small: Vec<String> = sizes
        .filter(|(id, members)| (1..TELLING_MEMBERS).contains(members) && with_goal(id))
        .map(|(id, _)| format!("`{id}`"))
        .collect();
    (!small.is_empty()).then(|| {
        format!(
            "fewer than {TELLING_MEMBERS} members, so that a tenth held out would tell nothing about the goal: {}",
            small.join(", ")
        )
    })
}

/// One computed segment.
#[derive(Debug)]
pub(super) struct ComputedSegment {
    pub(super) id: String,
    pub(super) members: RoaringBitmap,
    pub(super) goal: Option<RoaringBitmap>,
}

/// All segments of a day, by id.
#[derive(Debug)]
pub(super) struct Computed {
    pub(super) segments: Vec<ComputedSegment>,
}

/// Computes every segment over the session's `profile` and the rows behind it.
pub(super) async fn compute(
    project: &Project,
    session: &SessionContext,
    snapshots: &Snapshots,
    prepared: &Prepared,
) -> Result<Computed> {
    let shared = &prepared.shared;
    Box::pin(super::asked::of_the_night(project, session, snapshots, prepared.scope.as_of, &shared.passes)).await?;
    let mut found = Box::pin(evaluate(session, shared)).await?;
    let segments = prepared
        .described
        .iter()
        .map(|definition| ComputedSegment {
            id: definition.id.clone(),
            members: found.members.remove(&definition.id).unwrap_or_default(),
            goal: found.goals.remove(&definition.id),
        })
        .collect();
    Ok(Computed { segments })
}
