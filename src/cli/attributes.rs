//! `alluvial attributes`.

use super::Outcome;
use super::opened::{Call, Opened};
use crate::error::Error;
use crate::profile::catalogue::{Asks, Attribute, Catalogue, Function, Named, Operator, Type};
use serde_json::json;

use super::output::{Format, Output};
use super::rows::{Cell, Rows};
use crate::error::Result;

/// What `alluvial attributes` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Only this one, in full
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// An attribute as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name in a query.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// The operators that it takes.
    pub operators: Vec<String>,
    /// What it means.
    pub meaning: String,
    /// A clause that uses it.
    pub example: String,
    /// The table and column that it comes from.
    pub source: String,
    /// The values that it can have, where they are few.
    pub values: Vec<String>,
}

/// Prints the attributes and functions.
///
/// # Errors
/// As [`Output::rows`].
pub fn print(attributes: &[Listed], output: &mut Output<'_>) -> Result<()> {
    let mut rows = Rows::new(&["name", "type", "operators", "meaning", "example"]);
    for attribute in attributes {
        rows.push(vec![
            Cell::text(&attribute.name),
            Cell::text(&attribute.kind),
            list(&attribute.operators),
            Cell::text(&attribute.meaning),
            Cell::text(&attribute.example),
        ]);
    }
    output.rows(rows)
}

fn list(texts: &[String]) -> Cell {
    Cell::List(texts.iter().map(Cell::text).collect())
}

/// What a function can be asked, as it is listed.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The parameter's name.
    pub name: String,
    /// Other names for it.
    pub spellings: Vec<String>,
    /// `row` (picks rows), `aggregate` (of all picked rows together) or `column` (a landed column, which picks rows).
    pub asks: &'static str,
    /// The type of what is compared.
    pub kind: String,
    /// The operators that it takes.
    pub operators: Vec<String>,
    /// The values that it can have, where they are few.
    pub values: Vec<String>,
}

/// Prints a function in full.
///
/// # Errors
/// As [`Output::rows`].
pub fn print_function(function: &Listed, spellings: &[String], asked: &[Asked], output: &mut Output<'_>) -> Result<()> {
    if output.format() == Format::Json {
        let parameters: Vec<_> = asked
            .iter()
            .map(|one| {
                json!({
                    "name": one.name, "spellings": one.spellings, "asks": one.asks, "type": one.kind,
                    "operators": one.operators, "values": one.values,
                })
            })
            .collect();
        let value = json!({
            "name": function.name, "spellings": spellings, "type": function.kind, "operators": function.operators,
            "meaning": function.meaning, "example": function.example, "source": function.source,
            "parameters": parameters,
        });
        return output.line(&format!("{value:#}"));
    }
    let mut rows = Rows::new(&["parameter", "asks", "type", "operators", "values"]);
    for one in asked {
        let name = std::iter::once(&one.name).chain(&one.spellings).cloned().collect::<Vec<_>>().join(", ");
        let (asks, kind) = (Cell::text(one.asks), Cell::text(&one.kind));
        rows.push(vec![Cell::text(name), asks, kind, list(&one.operators), list(&one.values)]);
    }
    if output.format() == Format::Csv {
        return output.rows(rows);
    }
    let mut facts = Rows::new(&["what", "value"]);
    for (what, value) in [
        ("name", function.name.clone()),
        ("also", spellings.join(", ")),
        ("type", function.kind.clone()),
        ("operators", function.operators.join(", ")),
        ("meaning", function.meaning.clone()),
        ("example", function.example.clone()),
        ("source", function.source.clone()),
    ] {
        if !value.is_empty() {
            facts.push(vec![Cell::text(what), Cell::Text(value)]);
        }
    }
    output.rows(facts)?;
    output.line("")?;
    output.rows(rows)?;
    output.line("")?;
    output.line(
        "without an aggregate at least one row must be left; `sum_`, `min_` and `max_` go before any numeric name",
    )
}

/// Prints one attribute in full.
///
/// # Errors
/// As [`Output::rows`].
pub fn print_one(attribute: &Listed, output: &mut Output<'_>) -> Result<()> {
    if output.format() == Format::Json {
        let value = json!({
            "name": attribute.name, "type": attribute.kind, "operators": attribute.operators,
            "meaning": attribute.meaning, "example": attribute.example, "source": attribute.source,
            "values": attribute.values,
        });
        return output.line(&format!("{value:#}"));
    }
    let mut rows = Rows::new(&["what", "value"]);
    for (what, value) in [
        ("name", attribute.name.clone()),
        ("type", attribute.kind.clone()),
        ("operators", attribute.operators.join(", ")),
        ("values", attribute.values.join(", ")),
        ("meaning", attribute.meaning.clone()),
        ("example", attribute.example.clone()),
        ("source", attribute.source.clone()),
    ] {
        if !value.is_empty() {
            rows.push(vec![Cell::text(what), Cell::Text(value)]);
        }
    }
    output.rows(rows)
}

/// Lists what a query of the project can name.
///
/// # Errors
/// `attributes.unknown` with the nearest name.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let catalogue = opened.catalogue().await?;
        let Some(name) = &args.name else {
            let attributes = catalogue.attributes().iter().map(|one| listed(one));
            print(&attributes.chain(catalogue.functions().iter().map(listed_function)).collect::<Vec<_>>(), output)?;
            return Ok(Outcome::Done);
        };
        let missing = |code, message: String| Error::not_found(code, message);
        match catalogue.resolve(name) {
            Named::Attribute(attribute) => {
                print_one(&listed(attribute), output)?;
                Ok(Outcome::Done)
            }
            Named::Function(function) => {
                let spellings: Vec<String> = function.spellings.iter().map(|name| (*name).to_owned()).collect();
                print_function(&listed_function(function), &spellings, &asked_of(function, &catalogue), output)?;
                Ok(Outcome::Done)
            }
            Named::NotLanded(column) => {
                let error = missing("attributes.not_landed", format!("nothing landed supplies `{name}`"));
                Err(error.with_hint(format!("land `{column}`")))
            }
            Named::Unusable(kind) => {
                Err(missing("attributes.unusable", format!("`{name}` holds {kind}, which no clause can test")))
            }
            Named::Unknown(near) => {
                let error = missing("attributes.unknown", format!("there is no attribute or function `{name}`"));
                Err(match near {
                    Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                    None => error.with_hint("`alluvial attributes` lists them"),
                })
            }
        }
    })
}

fn listed(attribute: &Attribute) -> Listed {
    let meaning = match &attribute.label {
        Some(label) => format!("{label}: {}", attribute.meaning),
        None => attribute.meaning.clone(),
    };
    Listed {
        name: attribute.name.clone(),
        kind: attribute.kind.name().to_owned(),
        operators: attribute.kind.operators().iter().map(|operator| operator.spelling().to_owned()).collect(),
        meaning,
        example: attribute.example.clone(),
        source: attribute.landed.join(", "),
        values: attribute.kind.values().into_iter().map(str::to_owned).collect(),
    }
}

fn listed_function(function: &Function) -> Listed {
    Listed {
        name: function.name.to_owned(),
        kind: "function".to_owned(),
        operators: vec!["MATCHES".to_owned(), Operator::IsNull.spelling().to_owned()],
        meaning: function.meaning.to_owned(),
        example: function.example.to_owned(),
        source: function.rows.table().to_owned(),
        values: Vec::new(),
    }
}

/// Everything that a function can be asked: its own parameters, then the landed columns of its table.
fn asked_of(function: &Function, catalogue: &Catalogue) -> Vec<Asked> {
    let asked = |name: &str, spellings: &[&str], asks, kind: &Type| Asked {
        name: name.to_owned(),
        spellings: spellings.iter().map(|name| (*name).to_owned()).collect(),
        asks,
        kind: kind.name().to_owned(),
        operators: kind.operators().iter().map(|operator| operator.spelling().to_owned()).collect(),
        values: kind.values().into_iter().map(str::to_owned).collect(),
    };
    let mut all: Vec<Asked> = function
        .parameters
        .iter()
        .map(|own| match &own.asks {
            Asks::Row(kind, _) => asked(own.name, own.spellings, "row", kind),
            Asks::Count => asked(own.name, own.spellings, "aggregate", &Type::Integer),
            Asks::Sum(kind, _) => asked(own.name, own.spellings, "aggregate", kind),
            Asks::Distance(_) => asked(own.name, own.spellings, "row", &Type::Float),
            Asks::Coordinates => Asked {
                kind: "latitude and longitude".to_owned(),
                operators: vec!["=".to_owned()],
                ..asked(own.name, own.spellings, "row", &Type::Text)
            },
        })
        .collect();
    for name in catalogue.row_column_names(function.rows) {
        let Some(column) = catalogue.row_column(function.rows, name) else { continue };
        let name = if function.parameter(name).is_some() { format!("column.{name}") } else { name.to_owned() };
        all.push(asked(&name, &[], "column", &column.kind));
    }
    all
}
