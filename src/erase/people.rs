//! Every identity of a person: customer ids that were merged or share an address, guests, visitors, addresses, orders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use chrono::{DateTime, Utc};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use crate::engine::statement::{Params, identifier, literal, plan_text};
use crate::error::Result;
use crate::lake::forgotten::{Forgotten, Known, Mark, digits};
use crate::land;
use crate::profile;
use crate::schema::landed::Table;
use crate::schema::published;
use crate::snapshot::reading::Reading;
use crate::snapshot::setup::Project;

const KNOWN: &str = include_str!("../../sql/erase/known.sql");
const GUESTS: &str = include_str!("../../sql/erase/guests.sql");

/// Customers who may share an address and still be one person.
const ONE_PERSON: i64 = 10;

/// People as they are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Ids of customers, guests or visitors.
    pub ids: BTreeSet<String>,
    /// E-mail addresses.
    pub emails: BTreeSet<String>,
    /// Phones.
    pub phones: BTreeSet<String>,
}

impl Asked {
    /// How many.
    pub fn len(&self) -> usize {
        self.ids.len() + self.emails.len() + self.phones.len()
    }

    /// Whether nobody is asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn each(&self) -> impl Iterator<Item = (Known, &String)> {
        let ids = self.ids.iter().map(|value| (Known::Id, value));
        let emails = self.emails.iter().map(|value| (Known::Email, value));
        ids.chain(emails).chain(self.phones.iter().map(|value| (Known::Phone, value)))
    }
}

/// What people are known by.
#[derive(Debug, Clone, Default)]
pub struct Identities(BTreeMap<Known, BTreeSet<String>>);

impl Identities {
    /// The values of a kind.
    pub fn of(&self, known: Known) -> impl Iterator<Item = &String> {
        self.0.get(&known).into_iter().flatten()
    }

    /// How many values of a kind.
    pub fn count(&self, known: Known) -> u64 {
        self.of(known).count() as u64
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// Adds a value and says whether it is new.
    fn add(&mut self, known: Known, value: String) -> bool {
        self.0.entry(known).or_default().insert(value)
    }

    fn has(&self, known: Known, value: &str) -> bool {
        self.0.get(&known).is_some_and(|values| values.contains(value))
    }

    /// The keyed hash of every value.
    pub fn marks(&self, under: &Forgotten) -> Vec<(Known, Mark)> {
        let all = self.0.iter().flat_map(|(known, values)| values.iter().map(move |value| (*known, value)));
        all.filter_map(|(known, value)| Some((known, under.mark(known, value)?))).collect()
    }
}

/// Who was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Everything that they are known by.
    pub identities: Identities,
    /// Keyed hashes of those asked for who were found or forgotten before.
    pub asked: Vec<Mark>,
    /// Of those asked for, how many nothing is held about.
    pub unknown: u64,
    /// Of those asked for, how many were forgotten before.
    pub before: u64,
    /// Addresses that name nobody, since too many customers have them.
    pub shared: u64,
}

/// A session in which people are looked for: everything published, and every landed row as it is read.
pub(super) struct Looking {
    pub(super) reading: Reading,
    pub(super) found: land::Found,
    pub(super) options: land::Options,
}

impl Looking {
    pub(super) async fn open(project: &Project, at: DateTime<Utc>) -> Result<Self> {
        let reading = Box::pin(Reading::open(project)).await?;
        let today = project.settings.project.zone.local_date(at);
        let options = land::Options { without_forgotten: false, ..project.landing(today, at) };
        let found = Box::pin(land::find(&reading.session, &project.sources, &options)).await?;
        Ok(Self { reading, found, options })
    }

    fn session(&self) -> &SessionContext {
        &self.reading.session
    }

    async fn keep(&self, project: &Project, name: &str, sql: &str) -> Result<()> {
        let frame = plan_text(self.session(), sql, &Params::new()).await?;
        project.engine.materialize(self.session(), name, frame, false).await?;
        Ok(())
    }

    /// What the search reads, narrow and once.
    async fn prepare(&self, project: &Project) -> Result<()> {
        let session = self.session();
        let rows = |table| self.found.rows_sql(table, &self.options);
        let phone = "nullif(regexp_replace(regexp_replace(phone, '[^0-9]', '', 'g'), '^00', ''), '') AS phone";
        let mut customers =
            format!("SELECT customer_id, lower(email) AS email, {phone} FROM ({})", rows(Table::Customers));
        let contacts = session.table("customer_contacts").await?;
        let has = |name: &str| contacts.schema().has_column_with_unqualified_name(name);
        if has("email") && has("phone") {
            // Whoever was erased at the source is found by what is published.
            customers
                .push_str(&format!(" UNION SELECT customer_id, lower(email) AS email, {phone} FROM customer_contacts"));
        }
        let customers = format!("SELECT DISTINCT * FROM ({customers}) WHERE customer_id IS NOT NULL");
        self.keep(project, "person_customers", &customers).await?;
        let orders = format!(
            "SELECT DISTINCT order_id, customer_id, lower(email) AS email, {phone}, coalesce(lower(email), phone) AS contact \
             FROM ({})",
            rows(Table::Orders)
        );
        self.keep(project, "person_orders", &orders).await?;
        Box::pin(land::settle_identities(&project.engine, session, &self.found, &self.options)).await?;
        Box::pin(profile::identities(&project.engine, session)).await?;
        self.keep(project, "person_guests", GUESTS).await
    }

    async fn texts(&self, sql: &str) -> Result<Vec<String>> {
        self.reading.texts(sql).await
    }

    /// Which of the values in `known` anything is held under.
    async fn held(&self) -> Result<BTreeSet<(Known, String)>> {
        let rows = |table| self.found.rows_sql(table, &self.options);
        let digits = "regexp_replace(regexp_replace(identifier, '[^0-9]', '', 'g'), '^00', '')";
        let suppressed = |value: &str| format!("SELECT {value} AS value FROM ({})", rows(Table::Suppressions));
        let mut ids = vec![
            "SELECT customer_id AS value FROM person_customers".to_owned(),
            "SELECT customer_id FROM person_orders".to_owned(),
            "SELECT customer_id FROM person_guests".to_owned(),
            "SELECT id FROM roots UNION ALL SELECT root FROM roots".to_owned(),
            suppressed("identifier"),
        ];
        for table in [Table::Events, Table::Identities] {
            ids.push(format!("SELECT customer_id FROM ({rows})", rows = rows(table)));
            ids.push(format!("SELECT anonymous_id FROM ({rows})", rows = rows(table)));
        }
        for table in published::tables().iter().filter(|table| holds_customers(table)) {
            ids.push(format!("SELECT customer_id FROM {}", identifier(table.name)));
        }
        let of = |column: &str| {
            vec![
                format!("SELECT {column} AS value FROM person_customers"),
                format!("SELECT {column} FROM person_orders"),
            ]
        };
        let (mut emails, mut phones) = (of("email"), of("phone"));
        emails.push(suppressed("lower(identifier)"));
        phones.push(suppressed(digits));
        let mut held = BTreeSet::new();
        for (known, places) in [(Known::Id, ids), (Known::Email, emails), (Known::Phone, phones)] {
            let sql = format!(
                "SELECT DISTINCT k.value FROM (SELECT value FROM known WHERE kind = {}) k JOIN ({}) p ON p.value = k.value",
                literal(known.word()),
                places.join(" UNION ALL ")
            );
            held.extend(self.texts(&sql).await?.into_iter().map(|value| (known, value)));
        }
        Ok(held)
    }

    /// One step further from what is known.
    async fn step(&self, identities: &Identities) -> Result<Vec<(Known, String)>> {
        let session = self.session();
        register(session, identities)?;
        let mut found = Vec::new();
        let mut stream = plan_text(session, KNOWN, &Params::new()).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let (kinds, values) = (cast(batch.column(0), &DataType::Utf8)?, cast(batch.column(1), &DataType::Utf8)?);
            let (kinds, values) = (kinds.as_string::<i32>(), values.as_string::<i32>());
            for row in (0..batch.num_rows()).filter(|row| values.is_valid(*row)) {
                let known = match kinds.value(row) {
                    "email" => Known::Email,
                    "phone" => Known::Phone,
                    _ => Known::Id,
                };
                found.push((known, values.value(row).to_owned()));
            }
        }
        Ok(found)
    }
}

/// Whether a table has a row a customer.
pub(super) fn holds_customers(table: &published::Published) -> bool {
    table.columns.iter().any(|column| column.name() == "customer_id")
}

/// A value in the form in which the search compares it.
fn normal(known: Known, value: &str) -> String {
    match known {
        Known::Id | Known::Order => value.trim().to_owned(),
        Known::Email => value.trim().to_lowercase(),
        Known::Phone => digits(value),
    }
}

/// What is known as the session's table `known`.
fn register(session: &SessionContext, identities: &Identities) -> Result<()> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
    ]));
    let all: Vec<(&str, &str)> = identities
        .0
        .iter()
        .flat_map(|(known, values)| values.iter().map(move |value| (known.word(), value.as_str())))
        .collect();
    let kinds: StringArray = all.iter().map(|(kind, _)| Some(*kind)).collect();
    let values: StringArray = all.iter().map(|(_, value)| Some(*value)).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(kinds), Arc::new(values)])?;
    session.deregister_table("known")?;
    session.register_table("known", Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
    Ok(())
}

/// Finds every identity of the people who are asked for.
///
/// # Errors
/// Landed files that cannot be read, and what the store refuses.
pub async fn find(project: &Project, asked: &Asked, at: DateTime<Utc>) -> Result<Found> {
    let looking = Box::pin(Looking::open(project, at)).await?;
    Box::pin(find_in(project, &looking, asked)).await
}

pub(super) async fn find_in(project: &Project, looking: &Looking, asked: &Asked) -> Result<Found> {
    looking.prepare(project).await?;
    let mut found = Found::default();
    let forgotten = &project.forgotten;
    let mut wanted = Identities::default();
    for (known, value) in asked.each() {
        wanted.add(known, normal(known, value));
    }
    register(looking.session(), &wanted)?;
    let held = looking.held().await?;
    for (known, value) in
        wanted.0.into_iter().flat_map(|(known, values)| values.into_iter().map(move |value| (known, value)))
    {
        let before = forgotten.covers(known, &value);
        found.before += u64::from(before);
        let is_held = held.contains(&(known, value.clone()));
        if !is_held && !before {
            found.unknown += 1;
            continue;
        }
        found.asked.extend(forgotten.mark(known, &value));
        if is_held {
            found.identities.add(known, value);
        }
    }
    if found.identities.is_empty() {
        return Ok(found);
    }
    // A phone is a household's: it names people only where it is asked for.
    register(looking.session(), &found.identities)?;
    let phones = "(SELECT value FROM known WHERE kind = 'phone') k";
    let named = format!(
        "SELECT c.customer_id FROM {phones} JOIN person_customers c ON c.phone = k.value UNION \
         SELECT o.customer_id FROM {phones} JOIN person_orders o ON o.phone = k.value WHERE o.customer_id IS NOT NULL"
    );
    for id in looking.texts(&named).await? {
        found.identities.add(Known::Id, id);
    }
    let guests = "SELECT email FROM person_guests g JOIN known k ON k.kind = 'id' AND k.value = g.customer_id \
                  WHERE email IS NOT NULL";
    register(looking.session(), &found.identities)?;
    for email in looking.texts(guests).await? {
        found.identities.add(Known::Email, email);
    }
    let shared = format!(
        "SELECT email FROM person_customers WHERE email IS NOT NULL GROUP BY email \
         HAVING count(DISTINCT customer_id) > {ONE_PERSON}"
    );
    let shared: BTreeSet<String> = looking.texts(&shared).await?.into_iter().collect();
    let asked_for = found.identities.clone();
    let mut passed_over = BTreeSet::new();
    loop {
        let mut grew = false;
        for (known, value) in looking.step(&found.identities).await? {
            if known == Known::Email && shared.contains(&value) && !asked_for.has(Known::Email, &value) {
                passed_over.insert(value);
                continue;
            }
            grew |= found.identities.add(known, value);
        }
        if !grew {
            break;
        }
    }
    found.shared = passed_over.len() as u64;
    register(looking.session(), &found.identities)?;
    let joined = |column: &str, table: &str, known: &str, on: &str| {
        format!(
            "SELECT DISTINCT o.{column} FROM (SELECT value FROM known WHERE kind = '{known}') k JOIN {table} o ON o.{on}"
        )
    };
    let unnamed = "o.customer_id IS NULL AND o.email IS NULL";
    for (known, sql) in [
        (Known::Order, joined("order_id", "person_orders", "id", "customer_id = k.value")),
        (Known::Order, joined("order_id", "person_orders", "email", "email = k.value WHERE o.customer_id IS NULL")),
        (Known::Order, joined("order_id", "person_orders", "phone", &format!("phone = k.value WHERE {unnamed}"))),
        (Known::Order, joined("order_id", "orders", "id", "customer_id = k.value")),
        (Known::Id, joined("customer_id", "person_guests", "email", "email = k.value")),
        (Known::Id, joined("customer_id", "person_guests", "phone", "phone = k.value WHERE o.email IS NULL")),
    ] {
        for value in looking.texts(&sql).await? {
            found.identities.add(known, value);
        }
    }
    // An address whose orders have gone over to an account was a guest's before.
    let emails: Vec<String> = found.identities.of(Known::Email).map(|email| format!("({})", literal(email))).collect();
    if !emails.is_empty() {
        let sql = format!("SELECT guest_id(email) FROM (VALUES {}) AS t(email)", emails.join(", "));
        for id in looking.texts(&sql).await? {
            found.identities.add(Known::Id, id);
        }
    }
    Ok(found)
}
