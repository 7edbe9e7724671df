//! `alluvial attributes`.

use super::Outcome;
use super::opened::{Call, Opened};
use crate::error::Error;
use crate::profile::catalogue::{Attribute, Named};
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

/// Prints the attributes.
///
/// # Errors
/// As [`Output::rows`].
pub fn print(attributes: &[Listed], output: &mut Output<'_>) -> Result<()> {
    let mut rows = Rows::new(&["name", "type", "operators", "meaning", "example"]);
    let list = |texts: &[String]| Cell::List(texts.iter().map(Cell::text).collect());
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
            print(&catalogue.attributes().iter().map(|one| listed(one)).collect::<Vec<_>>(), output)?;
            return Ok(Outcome::Done);
        };
        let missing = |code, message: String| Error::not_found(code, message);
        match catalogue.resolve(name) {
            Named::Attribute(attribute) => {
                print_one(&listed(attribute), output)?;
                Ok(Outcome::Done)
            }
            Named::Function(function) => {
                let message = format!("the function `{}` is not supported yet", function.name);
                Err(missing("segment.function_not_supported", message))
            }
            Named::NotLanded(column) => {
                let error = missing("attributes.not_landed", format!("nothing landed supplies `{name}`"));
                Err(error.with_hint(format!("land `{column}`")))
            }
            Named::Unusable(kind) => {
                Err(missing("attributes.unusable", format!("`{name}` holds {kind}, which no clause can test")))
            }
            Named::Unknown(near) => {
                let error = missing("attributes.unknown", format!("there is no attribute `{name}`"));
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
