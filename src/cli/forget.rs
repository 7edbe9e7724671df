//! `alluvial forget`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Outcome;
use super::opened::{Call, Opened};
use super::output::{Format, List, Output};
use super::rows::{Cell, Rows};
use crate::erase::{Asked, Receipt, Told, forget};
use crate::error::{Error, Result};

/// What `alluvial forget` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Every identity of the person goes: ids that were merged or share an e-mail address, guests, visitors, orders.\n\
                  Look with --dry-run first. What is erased does not come back, nor does whoever is landed again."
)]
#[group(required = true, multiple = true)]
pub struct Args {
    /// The id of a customer, a guest or a visitor
    #[arg(long, value_name = "ID", group = "whom")]
    pub id: Vec<String>,
    /// An e-mail address
    #[arg(long, value_name = "ADDRESS", group = "whom")]
    pub email: Vec<String>,
    /// A phone; everybody who has it is forgotten
    #[arg(long, value_name = "PHONE", group = "whom")]
    pub phone: Vec<String>,
    /// A file of people, one a line: an id, an address, or `id:`, `email:` or `phone:` before it
    #[arg(long, value_name = "LIST", group = "whom")]
    pub file: Option<PathBuf>,
    /// Erase nothing: say what would be
    #[arg(long, requires = "whom")]
    pub dry_run: bool,
}

impl Args {
    fn asked(&self, base: &Path) -> Result<Asked> {
        let mut asked = Asked {
            ids: self.id.iter().cloned().collect(),
            emails: self.email.iter().cloned().collect(),
            phones: self.phone.iter().cloned().collect(),
        };
        if let Some(file) = &self.file {
            let text = std::fs::read_to_string(base.join(file))
                .map_err(|error| Error::from(error).in_file(file.display().to_string()))?;
            read_list(&text, &mut asked);
        }
        for values in [&mut asked.ids, &mut asked.emails, &mut asked.phones] {
            values.retain(|value| !value.trim().is_empty());
        }
        if asked.emails.iter().any(|address| !address.contains('@')) {
            return Err(Error::usage("forget.no_address", "what `--email` names is no e-mail address: it has no `@`")
                .with_hint("name ids with `--id`, phones with `--phone`"));
        }
        if asked.is_empty() {
            return Err(Error::usage("forget.nobody", "nobody is named")
                .with_hint("write `--id ID`, `--email ADDRESS`, or one of them a line in the file of `--file`"));
        }
        Ok(asked)
    }
}

/// One a line; blank lines and those that begin with `#` are passed over.
fn read_list(text: &str, asked: &mut Asked) {
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (values, value) = match line.split_once(':') {
            Some(("id", id)) => (&mut asked.ids, id),
            Some(("email", address)) => (&mut asked.emails, address),
            Some(("phone", phone)) => (&mut asked.phones, phone),
            _ if line.contains('@') => (&mut asked.emails, line),
            _ => (&mut asked.ids, line),
        };
        values.insert(value.trim().to_owned());
    }
}

/// Forgets people, or says what that would erase.
///
/// # Errors
/// See [`forget`].
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    let asked = args.asked(call.environment.folder())?;
    call.run(output, async |settings, output| {
        // Guests and those who were forgotten are told by the lake's key.
        let opened = Opened::new(settings, call.environment, true).await?;
        let told = Box::pin(forget(&opened.project, &asked, args.dry_run, opened.clock.now())).await?;
        print(&told, &asked, args.dry_run, output)?;
        Ok(Outcome::Done)
    })
}

fn status(told: &Told, dry_run: bool) -> &'static str {
    match &told.receipt {
        Some(_) if dry_run => "would_forget",
        Some(_) => "forgotten",
        None if told.before > 0 => "nothing_left",
        None => "nothing_held",
    }
}

fn print(told: &Told, asked: &Asked, dry_run: bool, output: &mut Output<'_>) -> Result<()> {
    let status = status(told, dry_run);
    if told.shared > 0 {
        output.warn(&format!(
            "{} addresses are borne by so many customers that they name nobody, and were not followed: name them with `--email`, \
             or those customers with `--id`, if they are the person's",
            told.shared
        ));
    }
    if output.format() == Format::Json {
        let value = json!({
            "status": status, "asked": asked.len(), "unknown": told.unknown, "forgotten_before": told.before,
            "elsewhere": told.elsewhere, "receipt": told.receipt,
        });
        return output.line(&format!("{value:#}"));
    }
    if told.unknown > 0 {
        let of = if asked.len() == 1 {
            "nothing is held about whom you name".to_owned()
        } else {
            format!("nothing is held about {} of the {} whom you name", told.unknown, asked.len())
        };
        output.note(&format!("{of}, and nobody was forgotten by that name"));
    }
    match &told.receipt {
        None if told.before > 0 => {
            output.note("nothing is left: they were forgotten before, and have not been landed since")
        }
        None => {}
        Some(receipt) => {
            lists(receipt, dry_run, output)?;
            output.note(if dry_run {
                "nothing was erased; run it without `--dry-run` to erase this for good"
            } else {
                "forgotten: no file in the lake holds them, and whoever is landed again stays out"
            });
            output
                .note("sizes, transitions and other counts of published days stay as they are: they are about nobody");
            if !dry_run {
                output.note(&format!("the receipt is `state/forgotten/{}.json` in the lake", receipt.id));
            }
            if !receipt.exports.is_empty() {
                output.warn("files of exports that contained them are wherever they went: erase the people there too");
            }
        }
    }
    if !told.elsewhere.is_empty() {
        output.warn(&format!(
            "{} files outside the lake hold them, and are read without them from now on; erase them at their source:",
            told.elsewhere.len()
        ));
        for part in &told.elsewhere {
            output.say(&format!("  {} ({} rows)", part.file, part.rows + part.named));
        }
    }
    Ok(())
}

fn lists(receipt: &Receipt, dry_run: bool, output: &mut Output<'_>) -> Result<()> {
    let mut erased = Rows::new(&["what", "#files", "#rows", "note"]);
    for part in &receipt.landed {
        let named = (part.named > 0).then(|| format!("{} rows of others named them", part.named));
        erased.push(vec![
            Cell::text(&part.file),
            Cell::count(1),
            Cell::count(part.rows),
            Cell::maybe(named, Cell::Text),
        ]);
    }
    for (table, part) in &receipt.tables {
        let old = (part.old_files > 0).then(|| format!("and {} files of old versions", part.old_files));
        erased.push(vec![
            Cell::text(table),
            Cell::count(part.files),
            Cell::count(part.rows),
            Cell::maybe(old, Cell::Text),
        ]);
    }
    let counts = &receipt.identities;
    let mut known = Rows::new(&["known_by", "#count"]);
    for (what, count) in
        [("ids", counts.ids), ("e-mail addresses", counts.emails), ("phones", counts.phones), ("orders", counts.orders)]
    {
        known.push(vec![Cell::text(what), Cell::count(count)]);
    }
    let mut exports = Rows::new(&["export_id", "as_of", "format", "destination"]);
    for export in &receipt.exports {
        exports.push(vec![
            Cell::text(&export.export_id),
            Cell::maybe(export.as_of.as_ref(), Cell::text),
            Cell::maybe(export.format.as_ref(), Cell::text),
            Cell::maybe(export.destination.as_ref(), Cell::text),
        ]);
    }
    let verb = if dry_run { "would be erased" } else { "was erased" };
    let mut all = vec![
        List { key: "erased", heading: format!("what {verb}"), rows: erased },
        List { key: "identities", heading: "what they were known by".to_owned(), rows: known },
    ];
    if !receipt.exports.is_empty() {
        all.push(List { key: "exports", heading: "exports that contained them".to_owned(), rows: exports });
    }
    output.lists(&[], all)
}

/// How many rows of just-landed files were people's who had been forgotten, for `alluvial land`.
pub(super) fn told_of_landed(rows: u64) -> String {
    format!("{rows} rows were of people who were forgotten, and are not landed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_ids_addresses_and_phones() {
        let mut asked = Asked::default();
        read_list("\u{feff}c1\n# note\n\nann@example.com\nphone: +45 12\nid:a@b\nguest:0123\n", &mut asked);
        assert_eq!(asked.ids.iter().collect::<Vec<_>>(), ["a@b", "c1", "guest:0123"]);
        assert_eq!(asked.emails.iter().collect::<Vec<_>>(), ["ann@example.com"]);
        assert_eq!(asked.phones.iter().collect::<Vec<_>>(), ["+45 12"]);
    }
}
