//! `COPY (query) TO STDOUT`, as text, CSV or in binary.

use bytes::{BufMut, Bytes, BytesMut};
use datafusion::sql::sqlparser::ast::{
    CopyLegacyCsvOption, CopyLegacyOption, CopyOption, CopySource, CopyTarget, Query, Statement,
};
use datafusion_postgres::pgwire::api::portal::Format;
use datafusion_postgres::pgwire::error::PgWireResult;
use datafusion_postgres::pgwire::messages::data::DataRow;

use crate::serve::fault::Fault;
use crate::serve::sql::Reader;

/// What begins a binary copy: the signature, no flags, no extension.
const BINARY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// How rows are copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Postgres's own text.
    Text { delimiter: u8, null: String, header: bool },
    /// Values between delimiters, quoted where they must be.
    Csv { delimiter: u8, null: String, header: bool, quote: u8 },
    /// Postgres's own binary form.
    Binary,
}

/// What a `COPY` asks for.
///
/// # Errors
/// 25006 for `FROM`, 42501 for a file or a program, 0A000 for an option that is not known.
pub(super) fn asked(statement: &Statement, reader: &Reader) -> Result<(Box<Query>, Form), Fault> {
    let Statement::Copy { source, to, target, options, legacy_options, .. } = statement else {
        return Err(Fault::new("XX000", "this is no COPY"));
    };
    if !to {
        return Err(Fault::read_only());
    }
    if !matches!(target, CopyTarget::Stdout) {
        return Err(Fault::new("42501", "nothing is written to files or programs of the server")
            .hint("write `COPY (…) TO STDOUT`, and redirect what comes"));
    }
    let query = match source {
        CopySource::Query(query) => query.clone(),
        CopySource::Table { table_name, columns } => {
            let columns = match columns.is_empty() {
                true => "*".to_owned(),
                false => columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            };
            let text = format!("SELECT {columns} FROM {table_name}");
            match reader.read(&text)?.into_iter().next() {
                Some(Statement::Query(query)) => query,
                _ => return Err(Fault::new("42601", "COPY takes a query or a table")),
            }
        }
    };
    Ok((query, form(options, legacy_options)?))
}

fn form(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<Form, Fault> {
    let unknown = |option: String| Fault::new("0A000", format!("COPY does not know `{option}`"));
    let byte = |c: char| u8::try_from(c).ok().filter(u8::is_ascii).ok_or_else(|| unknown(c.to_string()));
    let (mut format, mut delimiter, mut null, mut header, mut quote) = ("text".to_owned(), None, None, false, b'"');
    for option in options {
        match option {
            CopyOption::Format(name) => format = name.value.to_lowercase(),
            CopyOption::Delimiter(c) => delimiter = Some(byte(*c)?),
            CopyOption::Null(text) => null = Some(text.clone()),
            CopyOption::Header(on) => header = *on,
            CopyOption::Quote(c) => quote = byte(*c)?,
            CopyOption::Encoding(name) if name.to_lowercase().replace('-', "") == "utf8" => {}
            other => return Err(unknown(other.to_string())),
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Binary => "binary".clone_into(&mut format),
            CopyLegacyOption::Delimiter(c) => delimiter = Some(byte(*c)?),
            CopyLegacyOption::Null(text) => null = Some(text.clone()),
            CopyLegacyOption::Header => header = true,
            CopyLegacyOption::Csv(parts) => {
                "csv".clone_into(&mut format);
                for part in parts {
                    match part {
                        CopyLegacyCsvOption::Header => header = true,
                        CopyLegacyCsvOption::Quote(c) => quote = byte(*c)?,
                        other => return Err(unknown(other.to_string())),
                    }
                }
            }
            other => return Err(unknown(other.to_string())),
        }
    }
    match format.as_str() {
        "text" => Ok(Form::Text {
            delimiter: delimiter.unwrap_or(b'\t'),
            null: null.unwrap_or_else(|| "\\N".to_owned()),
            header,
        }),
        "csv" => Ok(Form::Csv { delimiter: delimiter.unwrap_or(b','), null: null.unwrap_or_default(), header, quote }),
        "binary" => Ok(Form::Binary),
        other => Err(unknown(format!("FORMAT {other}"))),
    }
}

impl Form {
    /// How values are encoded.
    pub(super) fn values(&self) -> Format {
        match self {
            Self::Binary => Format::UnifiedBinary,
            _ => Format::UnifiedText,
        }
    }

    /// 1 for binary, as the protocol has it.
    pub(super) fn code(&self) -> i8 {
        i8::from(matches!(self, Self::Binary))
    }

    /// Whether it is the binary form.
    pub(super) fn is_binary(&self) -> bool {
        matches!(self, Self::Binary)
    }

    /// What comes before the rows.
    pub(super) fn begin(&self, names: &[&str]) -> Option<Bytes> {
        match self {
            Self::Binary => Some(Bytes::from_static(BINARY_HEADER)),
            Self::Text { header: true, .. } | Self::Csv { header: true, .. } => {
                let names: Vec<Option<&[u8]>> = names.iter().map(|name| Some(name.as_bytes())).collect();
                Some(self.line(&names))
            }
            _ => None,
        }
    }

    /// What comes after the rows.
    pub(super) fn end(&self) -> Option<Bytes> {
        matches!(self, Self::Binary).then(|| Bytes::from_static(&[0xff, 0xff]))
    }

    /// One row.
    ///
    /// # Errors
    /// Never for rows that were encoded as [`Form::values`] says.
    pub(super) fn row(&self, row: &DataRow) -> PgWireResult<Bytes> {
        if matches!(self, Self::Binary) {
            let mut bytes = BytesMut::with_capacity(row.data.len() + 2);
            bytes.put_i16(row.field_count);
            bytes.put_slice(&row.data);
            return Ok(bytes.freeze());
        }
        let broken = || super::wire(Fault::new("XX000", "a row is not what it says"));
        let (mut values, mut rest) = (Vec::new(), row.data.as_ref());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            match usize::try_from(i32::from_be_bytes(*length)) {
                Ok(length) => {
                    let (value, after) = after.split_at_checked(length).ok_or_else(broken)?;
                    values.push(Some(value));
                    rest = after;
                }
                Err(_) => {
                    values.push(None);
                    rest = after;
                }
            }
        }
        Ok(self.line(&values))
    }

    fn line(&self, values: &[Option<&[u8]>]) -> Bytes {
        let mut line = BytesMut::new();
        for (place, value) in values.iter().enumerate() {
            match self {
                Self::Binary => {}
                Self::Text { delimiter, null, .. } => {
                    if place > 0 {
                        line.put_u8(*delimiter);
                    }
                    match value {
                        None => line.put_slice(null.as_bytes()),
                        Some(value) => escape(&mut line, value, *delimiter),
                    }
                }
                Self::Csv { delimiter, null, quote, .. } => {
                    if place > 0 {
                        line.put_u8(*delimiter);
                    }
                    match value {
                        None => line.put_slice(null.as_bytes()),
                        Some(value) => quoted(&mut line, value, *delimiter, *quote, null),
                    }
                }
            }
        }
        line.put_u8(b'\n');
        line.freeze()
    }
}

fn escape(line: &mut BytesMut, value: &[u8], delimiter: u8) {
    for byte in value {
        match byte {
            b'\n' => line.put_slice(b"\\n"),
            b'\r' => line.put_slice(b"\\r"),
            b'\t' => line.put_slice(b"\\t"),
            b'\\' => line.put_slice(b"\\\\"),
            byte if *byte == delimiter => line.put_slice(&[b'\\', *byte]),
            byte => line.put_u8(*byte),
        }
    }
}

/// A value that could be taken for null, or that holds what divides values, stands in quotes.
fn quoted(line: &mut BytesMut, value: &[u8], delimiter: u8, quote: u8, null: &str) {
    let special = |byte: &u8| *byte == delimiter || *byte == quote || *byte == b'\n' || *byte == b'\r';
    if value != null.as_bytes() && !value.iter().any(special) && value != b"\\." {
        return line.put_slice(value);
    }
    line.put_u8(quote);
    for byte in value {
        if *byte == quote {
            line.put_u8(quote);
        }
        line.put_u8(*byte);
    }
    line.put_u8(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(text: &str) -> Result<Form, Fault> {
        let reader = Reader::new(1 << 20);
        let statement = reader.read(text).unwrap().remove(0);
        asked(&statement, &reader).map(|(_, form)| form)
    }

    #[test]
    fn rows_are_written_as_postgres_writes_them() {
        let csv = asked_for("COPY (SELECT 1) TO STDOUT (FORMAT csv, HEADER)").unwrap();
        let values: [Option<&[u8]>; 5] = [Some(b"a,b"), Some(b""), None, Some(b"say \"no\""), Some(b"plain")];
        assert_eq!(csv.line(&values), "\"a,b\",\"\",,\"say \"\"no\"\"\",plain\n");
        assert_eq!(csv.begin(&["a", "b c"]).unwrap(), "a,b c\n");
        let text = asked_for("COPY (SELECT 1) TO STDOUT").unwrap();
        assert_eq!(text.line(&[Some(b"a\tb\\"), None, Some(b"")]), "a\\tb\\\\\t\\N\t\n");
        assert_eq!(text.begin(&["a"]), None);
        let binary = asked_for("COPY (SELECT 1) TO STDOUT WITH BINARY").unwrap();
        assert_eq!((binary.code(), binary.begin(&[]).unwrap().len(), binary.end().unwrap().len()), (1, 19, 2));
    }

    #[test]
    fn nothing_is_read_from_or_written_to_the_server() {
        let state = |text: &str| asked_for(text).err().map(|fault| fault.state);
        assert_eq!(state("COPY orders TO '/tmp/orders.csv'"), Some("42501"));
        assert_eq!(state("COPY orders TO PROGRAM 'cat'"), Some("42501"));
        assert_eq!(state("COPY orders FROM STDIN"), Some("25006"));
        assert_eq!(state("COPY orders FROM '/etc/passwd'"), Some("25006"));
        assert_eq!(state("COPY orders TO STDOUT (FORMAT csv, FORCE_QUOTE (order_id))"), Some("0A000"));
        assert_eq!(state("COPY orders TO STDOUT (FORMAT parquet)"), Some("0A000"));
        assert_eq!(state("COPY orders TO STDOUT"), None);
    }
}
