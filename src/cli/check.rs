//! `alluvial check`.

use super::opened::{Call, Opened};
use crate::jobs;
use crate::jobs::definition::Job;
use crate::profile::catalogue::Catalogue;
use crate::profile::computed::Computed;
use crate::segments::check::domain;
use crate::segments::definition::Definitions;
use crate::snapshot;
use crate::snapshot::checking::understand;
use crate::snapshot::seen::never_seen;
use crate::snapshot::segments::catalogue_and_faults;
use crate::snapshot::setup::Project;
use chrono::NaiveDate;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Outcome;
use super::failure;
use super::output::{Format, List, Output};
use super::rows::{Cell, Rows};
use crate::diagnostic::{Diagnostic, Severity, line_and_column};
use crate::error::{Error, Result};

/// What `alluvial check` takes: nothing of its own.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// What was understood of a project and its landed data, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Checked {
    /// The landed tables.
    pub tables: Vec<Understood>,
    /// What each landed order status is taken for.
    pub statuses: Vec<StatusMeaning>,
    /// Customers who share an address.
    pub shared: Vec<SharedContact>,
    /// The definitions that were read: segments, jobs, attributes.
    pub definitions: Vec<Definition>,
    /// What was found in texts that people wrote.
    pub findings: Vec<Finding>,
    /// Faults that have no text to point into: files, tables, settings.
    pub faults: Vec<Error>,
    /// What is probably not meant.
    pub warnings: Vec<String>,
}

/// What was understood of one landed table.
#[derive(Debug, Clone)]
pub struct Understood {
    /// The landed table.
    pub table: String,
    /// Its files.
    pub files: u64,
    /// Rows in those files.
    pub rows: u64,
    /// The contract's columns that were found, under the contract's names.
    pub columns: Vec<String>,
    /// Other columns: custom properties of customers, row parameters of functions.
    pub custom: Vec<String>,
}

/// What one landed order status is taken for.
#[derive(Debug, Clone)]
pub struct StatusMeaning {
    /// As landed; `None` where it is missing.
    pub status: Option<String>,
    /// The contract's status; `None` where it is not known, so that its rows are rejected.
    pub meaning: Option<String>,
    /// Whether such orders count.
    pub counted: bool,
    /// Rows that have it.
    pub rows: u64,
}

/// Customers who share an address of one kind.
#[derive(Debug, Clone)]
pub struct SharedContact {
    /// `email` or `phone`.
    pub contact: String,
    /// Addresses that more than one customer has.
    pub addresses: u64,
    /// Customers who have one of those.
    pub customers: u64,
}

/// A definition that was read.
#[derive(Debug, Clone)]
pub struct Definition {
    /// `segment`, `job` or `attribute`.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// A finding and the text that it is in.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The file, as the user would write it.
    pub origin: String,
    /// Its text.
    pub source: Arc<str>,
    /// What was found.
    pub diagnostic: Diagnostic,
}

/// Prints first what was understood, then every fault; the outcome says whether there is one.
///
/// # Errors
/// As [`Output::lists`].
pub fn print(checked: &Checked, output: &mut Output<'_>) -> Result<Outcome> {
    let errors = checked.findings.iter().filter(|finding| finding.diagnostic.severity == Severity::Error).count()
        + checked.faults.len();
    let mut lists = vec![List { key: "tables", heading: "landed tables".to_owned(), rows: tables(&checked.tables) }];
    if !checked.statuses.is_empty() {
        let heading = "order statuses".to_owned();
        lists.push(List { key: "statuses", heading, rows: statuses(&checked.statuses) });
    }
    if !checked.shared.is_empty() {
        let heading = "customers who share an address".to_owned();
        lists.push(List { key: "shared_contacts", heading, rows: shared(&checked.shared) });
    }
    let heading = "definitions".to_owned();
    lists.push(List { key: "definitions", heading, rows: definitions(checked) });

    let findings: Vec<Value> = checked.findings.iter().map(finding).collect();
    let faults: Vec<Value> = checked.faults.iter().flat_map(failure::objects).collect();
    let facts = [
        ("ok", json!(errors == 0)),
        ("findings", json!(findings)),
        ("faults", json!(faults)),
        ("warnings", json!(checked.warnings)),
    ];
    output.lists(&facts, lists)?;

    if output.format() != Format::Json {
        for finding in &checked.findings {
            let color = output.color();
            output.say(&finding.diagnostic.render(&finding.origin, &finding.source, color));
        }
        for fault in &checked.faults {
            output.failure(fault);
        }
        for warning in &checked.warnings {
            output.warn(warning);
        }
        let warnings = checked.findings.len() + checked.faults.len() - errors + checked.warnings.len();
        output.note(&match (errors, warnings) {
            (0, 0) => "all is in order".to_owned(),
            (errors, warnings) => format!("faults: {errors}, warnings: {warnings}"),
        });
    }
    Ok(if errors == 0 { Outcome::Done } else { Outcome::Faulty })
}

fn tables(tables: &[Understood]) -> Rows {
    let mut rows = Rows::new(&["table", "#files", "#rows", "columns", "custom"]);
    let list = |names: &[String]| Cell::List(names.iter().map(Cell::text).collect());
    for table in tables {
        rows.push(vec![
            Cell::text(&table.table),
            Cell::count(table.files),
            Cell::count(table.rows),
            list(&table.columns),
            list(&table.custom),
        ]);
    }
    rows
}

fn statuses(statuses: &[StatusMeaning]) -> Rows {
    let mut rows = Rows::new(&["status", "meaning", "counted", "#rows"]);
    for status in statuses {
        rows.push(vec![
            Cell::maybe(status.status.as_ref(), Cell::text),
            Cell::maybe(status.meaning.as_ref(), Cell::text),
            Cell::Boolean(status.counted),
            Cell::count(status.rows),
        ]);
    }
    rows
}

fn shared(shared: &[SharedContact]) -> Rows {
    let mut rows = Rows::new(&["contact", "#addresses", "#customers"]);
    for contact in shared {
        rows.push(vec![Cell::text(&contact.contact), Cell::count(contact.addresses), Cell::count(contact.customers)]);
    }
    rows
}

fn definitions(checked: &Checked) -> Rows {
    let mut rows = Rows::new(&["kind", "id"]);
    for definition in &checked.definitions {
        rows.push(vec![Cell::text(&definition.kind), Cell::text(&definition.id)]);
    }
    rows
}

fn finding(finding: &Finding) -> Value {
    let span = finding.diagnostic.span.clone();
    let (line, column) = line_and_column(&finding.source, span.start);
    let length = finding.source.get(span).map_or(0, |text| text.chars().count());
    json!({
        "severity": finding.diagnostic.severity,
        "code": finding.diagnostic.code,
        "message": finding.diagnostic.message,
        "file": finding.origin,
        "line": line,
        "column": column,
        "length": length,
        "hint": finding.diagnostic.hint,
    })
}

/// Looks at everything that a run would read, and says what it takes it for and what is wrong.
///
/// # Errors
/// A project that cannot be opened; faults of its files and of landed data are part of what is printed.
pub fn execute(_args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let project = &opened.project;
        let mut checked = Checked::default();
        let segments = Definitions::load(&project.settings.root.join("sql").join("segments"))?;
        let catalogue = match Box::pin(understand(project, opened.yesterday(), opened.clock.now())).await {
            Ok(understood) => {
                let named = Box::pin(catalogue_and_faults(project, &understood.landed)).await;
                checked.took(understood, &project.settings.orders.counted);
                match named {
                    Ok((catalogue, computed, faults)) => {
                        checked.computed(&computed, faults);
                        Some(catalogue)
                    }
                    Err(error) => {
                        checked.faults.push(error);
                        None
                    }
                }
            }
            Err(error) => {
                checked.faults.push(error);
                None
            }
        };
        checked.read(&segments, catalogue.as_ref(), opened.yesterday());
        if let Some(catalogue) = &catalogue {
            checked.look_for_values(&segments, catalogue, &opened).await?;
        }
        checked.read_jobs(project)?;
        print(&checked, output)
    })
}

impl Checked {
    /// What the landed data is taken for.
    fn took(&mut self, understood: snapshot::checking::Understood, counted: &BTreeSet<String>) {
        for (table, summary) in understood.landed.tables.iter().filter(|(_, summary)| !summary.files.is_empty()) {
            let known = |name: &&String| !summary.custom.contains_key(*name);
            self.tables.push(Understood {
                table: table.name().to_owned(),
                files: summary.files.len() as u64,
                rows: summary.rows,
                columns: summary.present.iter().filter(known).cloned().collect(),
                custom: summary.custom.keys().cloned().collect(),
            });
        }
        self.statuses = understood
            .statuses
            .into_iter()
            .map(|status| StatusMeaning {
                counted: status.meaning.as_ref().is_some_and(|meaning| counted.contains(meaning)),
                status: status.landed,
                meaning: status.meaning,
                rows: status.rows,
            })
            .collect();
        self.shared = understood
            .shared
            .into_iter()
            .map(|shared| SharedContact {
                contact: shared.contact.to_owned(),
                addresses: shared.addresses,
                customers: shared.customers,
            })
            .collect();
        self.warnings.extend(understood.warnings);
        if self.tables.is_empty() {
            self.warnings.push("nothing is landed yet: try `alluvial demo`, or `alluvial land orders FILE`".to_owned());
        }
    }

    /// The computed attributes.
    fn computed(&mut self, computed: &Computed, faults: Vec<Error>) {
        let name = |path: &str| path.rsplit('/').next().unwrap_or(path).trim_end_matches(".sql").to_owned();
        self.definitions
            .extend(computed.files().map(|path| Definition { kind: "attribute".to_owned(), id: name(path) }));
        self.faults.extend(faults);
    }

    /// The segments, against the catalogue where the landed data could be read.
    fn read(&mut self, definitions: &Definitions, catalogue: Option<&Catalogue>, as_of: NaiveDate) {
        let unread = |path: &String| format!("{path} is not read: a segment is a file `<id>.toml` with `query = …`");
        self.warnings.extend(definitions.unread().iter().map(unread));
        for definition in definitions.iter() {
            self.definitions.push(Definition { kind: "segment".to_owned(), id: definition.id.clone() });
        }
        let found = match catalogue.map(|catalogue| definitions.clone().check(catalogue, as_of)) {
            Some(Ok(segments)) => segments.warnings().to_vec(),
            Some(Err(faults)) => faults,
            None => definitions.faults().to_vec(),
        };
        self.findings.extend(found.into_iter().map(|fault| Finding {
            origin: fault.origin.to_string(),
            source: fault.source,
            diagnostic: fault.diagnostic,
        }));
    }

    /// The tags, categories and the like that queries name, among those that were landed.
    async fn look_for_values(
        &mut self,
        definitions: &Definitions,
        catalogue: &Catalogue,
        opened: &Opened,
    ) -> Result<()> {
        let mut asked = Vec::new();
        let mut places = Vec::new();
        for definition in definitions.iter().filter(|definition| definition.active) {
            for query in std::iter::once(&definition.query).chain(&definition.goal) {
                for one in domain::asked(&query.expr, catalogue) {
                    asked.push(one);
                    places.push((definition, query));
                }
            }
        }
        for (place, found) in never_seen(&opened.project, opened.yesterday(), opened.clock.now(), &asked).await? {
            let Some((definition, query)) = places.get(place) else { continue };
            self.findings.push(Finding {
                origin: definition.origin.to_string(),
                source: Arc::clone(&definition.source),
                diagnostic: query.in_file(found),
            });
        }
        Ok(())
    }

    fn read_jobs(&mut self, project: &Project) -> Result<()> {
        for name in jobs::definition::names(&project.settings.root)? {
            let job = Job::load(&project.settings, &name);
            match job.and_then(|job| jobs::export::check(project, &job)) {
                Ok(()) => self.definitions.push(Definition { kind: "job".to_owned(), id: name }),
                Err(error) => self.faults.push(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;

    fn checked() -> Checked {
        Checked {
            tables: vec![Understood {
                table: "customers".to_owned(),
                files: 1,
                rows: 3,
                columns: vec!["customer_id".to_owned(), "email".to_owned()],
                custom: vec!["shoe_size".to_owned()],
            }],
            statuses: vec![StatusMeaning {
                status: Some("Completed".to_owned()),
                meaning: Some("paid".to_owned()),
                counted: true,
                rows: 2,
            }],
            shared: vec![SharedContact { contact: "email".to_owned(), addresses: 1, customers: 2 }],
            definitions: vec![Definition { kind: "segment".to_owned(), id: "vip".to_owned() }],
            ..Checked::default()
        }
    }

    #[test]
    fn what_was_understood_comes_first() {
        let (text, errors) = printed(Format::Table, |output| {
            assert_eq!(print(&checked(), output)?, Outcome::Done);
            Ok(())
        });
        insta::assert_snapshot!(text, @r"
        landed tables
        table      files  rows  columns             custom
        customers      1     3  customer_id, email  shoe_size

        order statuses
        status     meaning  counted  rows
        Completed  paid     true        2

        customers who share an address
        contact  addresses  customers
        email            1          2

        definitions
        kind     id
        segment  vip
        ");
        assert_eq!(errors, "all is in order\n");
    }

    #[test]
    fn faults_are_underlined_and_counted() {
        let mut checked = checked();
        checked.findings.push(Finding {
            origin: "sql/segments/vip.toml".to_owned(),
            source: "amuont_spent > 5".into(),
            diagnostic: Diagnostic::error("segment.unknown_attribute", 0..12, "unknown attribute `amuont_spent`")
                .with_hint("did you mean `amount_spent`?"),
        });
        checked.faults.push(Error::input("land.missing_column", "`orders` has no `total`").in_file("a.parquet"));
        checked.warnings.push("a warning".to_owned());
        let (_, errors) = printed(Format::Table, |output| {
            assert_eq!(print(&checked, output)?, Outcome::Faulty);
            Ok(())
        });
        insta::assert_snapshot!(errors, @r"
        error[segment.unknown_attribute]: unknown attribute `amuont_spent`
         --> sql/segments/vip.toml:1:1
          |
        1 | amuont_spent > 5
          | ^^^^^^^^^^^^
          |
          = help: did you mean `amount_spent`?
        error[land.missing_column]: `orders` has no `total`
         --> a.parquet
        warning: a warning
        faults: 2, warnings: 1
        ");
        let (text, errors) = printed(Format::Json, |output| print(&checked, output).map(|_| ()));
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&json["ok"], &json["findings"][0]["column"]), (&json!(false), &json!(1)));
        assert_eq!(json["findings"][0]["length"], 12);
        assert_eq!((&json["faults"][0]["file"], errors.as_str()), (&json!("a.parquet"), ""));
        assert_eq!(json["tables"][0]["custom"], json!(["shoe_size"]));
    }
}
