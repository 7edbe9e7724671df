//! The files of `sql/segments/`, checked together.
//!
//! `Definitions` is what the files say; `Definitions::check` resolves all their queries against the catalogue and
//! each other, and gives every fault of every file at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use chrono::NaiveDate;

use super::check::{self, AttributeTest, Context, Operand, Predicate, Rule};
use super::compile::{self, Member, Scope, Shared, Tables};
use super::syntax::{self, Cmp, Expr, Leaf};
use crate::diagnostic::{Diagnostic, Severity, line_and_column, nearest};
use crate::error::{Error, Result};
use crate::profile::catalogue::{Catalogue, Named};

mod file;
mod hash;
mod order;
mod toml_text;

pub use file::Guard;

/// Where a project's segments are, as people write it.
const FOLDER: &str = "sql/segments";

/// What one file says.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The file's name without `.toml`.
    pub id: String,
    /// The file, as the user would write it.
    pub origin: Arc<str>,
    /// The file's whole text.
    pub source: Arc<str>,
    /// Its name for people.
    pub name: String,
    /// The query.
    pub query: Query,
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// 1 is first; none is last.
    pub priority: Option<u32>,
    /// What its members should come to satisfy.
    pub goal: Option<Query>,
    /// How long they have, in days.
    pub goal_days: u32,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Only customers of this store.
    pub store: Option<String>,
    /// Whether its own export steps wait when it moves by half.
    pub guard: Guard,
    /// Whether it is computed.
    pub active: bool,
}

/// A query of a file.
#[derive(Debug, Clone)]
pub struct Query {
    /// As written, without the file's own quotes.
    pub text: String,
    /// Its tree; faulty parts are told of among the faults.
    pub expr: Expr,
    /// Where each byte of `text` stands in the file.
    offsets: toml_text::Offsets,
}

/// A finding in a file.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The file, as the user would write it.
    pub origin: Arc<str>,
    /// The file's whole text.
    pub source: Arc<str>,
    /// What is wrong, with its place in the file.
    pub diagnostic: Diagnostic,
}

/// The segments of a project as their files say, sorted by id.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    all: Vec<Definition>,
    faults: Vec<Fault>,
    unread: Vec<String>,
}

/// A segment whose query and goal are resolved.
#[derive(Debug, Clone)]
pub struct Segment {
    /// What its file says.
    pub definition: Definition,
    /// Who is in it, its `store` included.
    pub rule: Rule,
    /// Who satisfies its goal.
    pub goal: Option<Rule>,
}

/// The active segments of a project, resolved and sorted by id, and those that are switched off.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    active: Vec<Segment>,
    inactive: Vec<Definition>,
    warnings: Vec<Fault>,
}

impl Fault {
    fn new(definition: &Definition, diagnostic: Diagnostic) -> Self {
        Self { origin: Arc::clone(&definition.origin), source: Arc::clone(&definition.source), diagnostic }
    }

    /// Whether it stops the segment from being used.
    pub fn is_error(&self) -> bool {
        self.diagnostic.severity == Severity::Error
    }

    /// The finding with the file's text underlined.
    pub fn render(&self, color: bool) -> String {
        self.diagnostic.render(&self.origin, &self.source, color)
    }

    /// The finding as an error with its file, line and column.
    pub fn to_error(&self) -> Error {
        let (line, column) = line_and_column(&self.source, self.diagnostic.span.start);
        let error = Error::definition(self.diagnostic.code, self.diagnostic.message.clone())
            .in_file(self.origin.as_ref())
            .at_line(line, Some(column));
        match &self.diagnostic.hint {
            Some(hint) => error.with_hint(hint.clone()),
            None => error,
        }
    }
}

/// In the order of files and places.
fn sort(faults: &mut [Fault]) {
    faults.sort_by(|a, b| {
        let key = |fault: &Fault| (fault.diagnostic.span.start, fault.diagnostic.severity, fault.diagnostic.code);
        a.origin.cmp(&b.origin).then_with(|| key(a).cmp(&key(b)))
    });
}

impl Definitions {
    /// Reads every `*.toml` of a folder; a folder that does not exist has none. Faults of what is in the files are
    /// kept, and [`Definitions::check`] gives them with its own.
    ///
    /// # Errors
    /// A folder or file that cannot be read.
    pub fn load(folder: &Path) -> Result<Self> {
        let (mut files, mut unread) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::from(error).in_file(folder.display().to_string())),
        };
        for entry in entries {
            let path = entry.map_err(|error| Error::from(error).in_file(folder.display().to_string()))?.path();
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let ending = path.extension();
            if hidden || ending.is_some_and(|ending| ending == "md") {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if ending.is_none_or(|ending| ending != "toml") || path.is_dir() {
                unread.push(format!("{FOLDER}/{name}"));
                continue;
            }
            let bytes = std::fs::read(&path).map_err(|error| Error::from(error).in_file(path.display().to_string()))?;
            files.push((format!("{FOLDER}/{name}"), bytes));
        }
        let texts = files.iter().map(|(path, bytes)| (path.clone(), String::from_utf8_lossy(bytes).into_owned()));
        let mut definitions = Self::from_files(texts);
        unread.sort();
        definitions.unread = unread;
        for (path, bytes) in &files {
            if let Err(wrong) = std::str::from_utf8(bytes) {
                let at = wrong.valid_up_to();
                let found = Diagnostic::error("segment.not_utf8", at..at, "the file is not UTF-8")
                    .with_hint("save it as UTF-8");
                let source = String::from_utf8_lossy(bytes);
                definitions.faults.push(Fault {
                    origin: path.as_str().into(),
                    source: source.into(),
                    diagnostic: found,
                });
            }
        }
        sort(&mut definitions.faults);
        Ok(definitions)
    }

    /// The definitions of files that are given as (path, text).
    pub fn from_files(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut files: Vec<(String, String)> = files.into_iter().collect();
        files.sort();
        let mut all: Vec<Definition> = Vec::new();
        let mut faults = Vec::new();
        for (path, text) in files {
            let (definition, found) = file::read(&path, &text);
            faults.extend(found);
            let Some(definition) = definition else { continue };
            let folded = definition.id.replace('-', "_");
            match all.iter().find(|earlier| earlier.id.replace('-', "_") == folded) {
                Some(earlier) => {
                    let message = format!(
                        "`{}` and `{}` are one segment, since dashes count as underscores",
                        earlier.id, definition.id
                    );
                    let found =
                        Diagnostic::error("segment.same_id", 0..0, message).with_hint("rename one of the files");
                    faults.push(Fault::new(&definition, found));
                }
                None => all.push(definition),
            }
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        sort(&mut faults);
        Self { all, faults, unread: Vec::new() }
    }

    /// What is wrong with the files by themselves, before names are resolved.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What lies in the folder and is no segment's file, nor a note (`*.md`) beside them, sorted.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Every definition, sorted by id.
    pub fn iter(&self) -> std::slice::Iter<'_, Definition> {
        self.all.iter()
    }

    /// The definition of that id.
    pub fn get(&self, id: &str) -> Option<&Definition> {
        self.all.binary_search_by(|definition| definition.id.as_str().cmp(id)).ok().and_then(|at| self.all.get(at))
    }

    /// The segments that there are, and whether each is active: what a query may refer to.
    pub fn known(&self) -> BTreeMap<String, bool> {
        self.all.iter().map(|definition| (definition.id.clone(), definition.active)).collect()
    }

    /// Resolves every query and goal against the catalogue and each other.
    ///
    /// # Errors
    /// Every fault of every file, those of reading and warnings included, if there is any error among them.
    pub fn check(self, catalogue: &Catalogue, as_of: NaiveDate) -> std::result::Result<Segments, Vec<Fault>> {
        let known = self.known();
        let context = Context { catalogue, segments: &known, as_of };
        let mut faults = self.faults.clone();
        faults.extend(self.suspicious_names());
        let mut segments = Segments::default();
        for definition in &self.all {
            // One that is switched off need not fit the data any more.
            if !definition.active {
                segments.inactive.push(definition.clone());
                continue;
            }
            let mut resolve = |query: &Query| {
                let checked = check::check(&query.expr, &context);
                faults
                    .extend(checked.diagnostics.into_iter().map(|found| Fault::new(definition, query.in_file(found))));
                checked.rule
            };
            let rule = resolve(&definition.query).map(|rule| match &definition.store {
                Some(store) => in_store(rule, store, catalogue),
                None => rule,
            });
            let goal = definition.goal.as_ref().map(&mut resolve);
            if let (Some(rule), Some(goal)) = (rule, goal.map_or(Some(None), |goal| goal.map(Some))) {
                segments.active.push(Segment { definition: definition.clone(), rule, goal });
            }
        }
        faults.extend(order::faults(&self.all));
        sort(&mut faults);
        if faults.iter().any(Fault::is_error) {
            return Err(faults);
        }
        segments.warnings = faults;
        Ok(segments)
    }

    fn suspicious_names(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut names: BTreeMap<String, &Definition> = BTreeMap::new();
        for definition in self.all.iter().filter(|definition| definition.active) {
            if definition.description.as_deref().unwrap_or_default().trim().is_empty() {
                let found = Diagnostic::warning("segment.no_description", 0..0, "the segment has no description");
                faults.push(Fault::new(definition, found.with_hint("write what it is for: `description = \"…\"`")));
            }
            if let Some(earlier) = names.insert(definition.name.trim().to_lowercase(), definition) {
                let message = format!("the segment `{}` has the same name", earlier.id);
                let found = Diagnostic::warning("segment.same_name", 0..0, message);
                faults.push(Fault::new(definition, found.with_hint("give each a name of its own")));
            }
        }
        faults
    }
}

/// `rule AND store = '…'`.
fn in_store(rule: Rule, store: &str, catalogue: &Catalogue) -> Rule {
    let Named::Attribute(attribute) = catalogue.resolve("store") else { return rule };
    let predicate = Predicate::Compare { op: Cmp::Equal, value: Operand::Text(store.to_owned()) };
    Rule::All(vec![rule, Rule::Test(AttributeTest { attribute: Arc::clone(attribute), predicate })])
}

impl Query {
    /// A finding in the query as a finding in the file.
    pub fn in_file(&self, mut found: Diagnostic) -> Diagnostic {
        found.span = self.offsets.span(&found.span);
        found
    }

    /// The canonical form.
    pub fn canonical(&self) -> String {
        self.expr.to_string()
    }

    /// The segments that it refers to, each with where it does.
    fn references(&self) -> Vec<(&str, crate::diagnostic::Span)> {
        let mut found = Vec::new();
        self.expr.leaves(&mut |leaf| {
            if let Leaf::Segment { id, .. } = leaf {
                found.push((id.text.as_str(), self.offsets.span(&id.at.0)));
            }
        });
        found
    }
}

impl Segments {
    /// The active segments, sorted by id.
    pub fn iter(&self) -> std::slice::Iter<'_, Segment> {
        self.active.iter()
    }

    /// The segments that are switched off, sorted by id.
    pub fn inactive(&self) -> &[Definition] {
        &self.inactive
    }

    /// What is well written but hardly meant.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// The active segment of that id.
    ///
    /// # Errors
    /// `segment.not_found` with the nearest id.
    pub fn get(&self, id: &str) -> Result<&Segment> {
        let found = self.active.binary_search_by(|segment| segment.definition.id.as_str().cmp(id)).ok();
        found.and_then(|at| self.active.get(at)).ok_or_else(|| {
            if self.inactive.iter().any(|definition| definition.id == id) {
                return Error::not_found("segment.inactive_segment", format!("the segment `{id}` is switched off"))
                    .with_hint("write `active = true` in its file");
            }
            let error = Error::not_found("segment.not_found", format!("there is no segment `{id}`"));
            let ids = self.active.iter().map(|segment| segment.definition.id.as_str());
            match nearest(id, ids) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error.with_hint("`alluvial segments` lists the segments that there are"),
            }
        })
    }

    /// The rules by id, for [`compile::standalone_sql`].
    pub fn rules(&self) -> BTreeMap<String, &Rule> {
        self.active.iter().map(|segment| (segment.definition.id.clone(), &segment.rule)).collect()
    }

    /// SQL that returns a segment's members on its own.
    ///
    /// # Errors
    /// `segment.not_found`, and a date off the calendar.
    pub fn sql(&self, id: &str, scope: Scope, tables: &Tables) -> Result<String> {
        compile::standalone_sql(&self.get(id)?.rule, &self.rules(), scope, tables)
    }

    /// The statements for all active segments and their goals.
    ///
    /// # Errors
    /// A date off the calendar.
    pub fn shared(&self, scope: Scope, tables: &Tables) -> Result<Shared> {
        let members: Vec<Member<'_>> = self
            .active
            .iter()
            .map(|segment| Member { id: &segment.definition.id, rule: &segment.rule, goal: segment.goal.as_ref() })
            .collect();
        compile::shared(&members, scope, tables)
    }

    /// The landed columns beside the contract's that some segment or goal asks about, by table.
    pub fn custom_row_columns(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let rules = self.active.iter().flat_map(|segment| std::iter::once(&segment.rule).chain(&segment.goal));
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (table, column) in rules.flat_map(Rule::custom_row_columns).filter_map(|name| name.split_once('.')) {
            found.entry(table).or_default().insert(column);
        }
        found
    }

    /// Checks a query that is in no file (`--query`), which may refer to the active segments.
    pub fn check_query(&self, text: &str, catalogue: &Catalogue, as_of: NaiveDate) -> (Option<Rule>, Vec<Diagnostic>) {
        let parsed = syntax::parse(text);
        let mut known: BTreeMap<String, bool> =
            self.active.iter().map(|segment| (segment.definition.id.clone(), true)).collect();
        known.extend(self.inactive.iter().map(|definition| (definition.id.clone(), false)));
        let faulty = parsed.has_errors();
        let checked = check::check(&parsed.expr, &Context { catalogue, segments: &known, as_of });
        let mut diagnostics = parsed.diagnostics;
        diagnostics.extend(checked.diagnostics);
        diagnostics.sort_by(|a, b| (a.span.start, a.severity, a.code).cmp(&(b.span.start, b.severity, b.code)));
        (checked.rule.filter(|_| !faulty), diagnostics)
    }

    /// Each active segment's definition hash (SHA-256 in hex): its canonical query, its store, the hashes of the
    /// segments that it refers to, and `environment`, the settings, fields and overridden SQL that answers depend on.
    pub fn definition_hashes(&self, environment: &str) -> BTreeMap<String, String> {
        hash::all(&self.active, environment)
    }
}

#[cfg(test)]
mod tests;
