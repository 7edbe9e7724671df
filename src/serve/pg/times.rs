//! Functions of times as Postgres has them: `now()` with a zone, and `to_char`, `to_date` and `to_timestamp` by Postgres's
//! templates. Templates as chrono has them, with `%`, are the engine's own and go on to it.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, FieldRef, TimeUnit, TimestampMicrosecondType};
use chrono::{Duration, NaiveDateTime, TimeZone};
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::functions::datetime::now::NowFunc;
use datafusion::functions::datetime::to_char::ToCharFunc;
use datafusion::functions::datetime::to_date::ToDateFunc;
use datafusion::functions::datetime::to_timestamp::ToTimestampFunc;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use super::template::Template;
use crate::serve::fault::Fault;

/// The functions of a session that reads times without a zone in this one.
pub(in crate::serve) fn functions(zone: &str) -> Vec<ScalarUDF> {
    let mut options = ConfigOptions::default();
    options.execution.time_zone = Some(zone.to_owned());
    let inner = |which: Which| match which {
        Which::Char => ScalarUDF::new_from_impl(ToCharFunc::new()),
        Which::Date => ScalarUDF::new_from_impl(ToDateFunc::new()),
        Which::Timestamp => ScalarUDF::new_from_impl(ToTimestampFunc::new_with_config(&options)),
    };
    let by_template = [Which::Char, Which::Date, Which::Timestamp].map(|which| {
        ScalarUDF::new_from_impl(ByTemplate {
            which,
            inner: inner(which),
            zone: Arc::from(zone),
            aliases: which.aliases(),
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    });
    let mut all = vec![ScalarUDF::new_from_impl(NowFunc::new_with_config(&options))];
    all.extend(by_template);
    all
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Which {
    Char,
    Date,
    Timestamp,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Char => "to_char",
            Self::Date => "to_date",
            Self::Timestamp => "to_timestamp",
        }
    }
}

impl Which {
    /// The engine's other names. What had one of these alone would take the first name again when a state is built anew.
    fn aliases(self) -> Vec<String> {
        if self == Self::Char { vec!["date_format".to_owned()] } else { Vec::new() }
    }
}

/// A function that takes a template.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ByTemplate {
    which: Which,
    /// The engine's function of the name.
    inner: ScalarUDF,
    zone: Arc<str>,
    aliases: Vec<String>,
    signature: Signature,
}

/// Whether a template is one of Postgres's.
fn is_postgres(template: &str) -> bool {
    !template.contains('%') && !template.eq_ignore_ascii_case("ISO8601")
}

impl ByTemplate {
    fn data_type(&self) -> DataType {
        match self.which {
            Which::Char => DataType::Utf8,
            Which::Date => DataType::Date32,
            Which::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(&self.zone))),
        }
    }

    /// What of the types of values a template says nothing of.
    fn check(&self, of: &DataType, template: Option<&str>) -> Result<(), Fault> {
        if self.which != Which::Char {
            return Ok(());
        }
        let of_number = of.is_numeric();
        let of_time =
            matches!(of, DataType::Interval(_) | DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_));
        if of_number || matches!(of, DataType::Interval(_)) || of_time && template.is_some_and(is_postgres) {
            let what = if of_number { "a number" } else { "an interval or a time of day" };
            let hint = match of_number {
                true => "`CAST(x AS VARCHAR)` writes a number, `round(x, 2)` rounds it before",
                false => "`CAST(x AS VARCHAR)` writes it; `to_char` is for dates and timestamps",
            };
            return Err(Fault::new("0A000", format!("`to_char` of {what} is not supported")).hint(hint));
        }
        Ok(())
    }

    fn template(&self, text: &str) -> Result<Template, Fault> {
        let template = Template::parse(text)?;
        if self.which == Which::Char { Ok(template) } else { template.for_reading() }
    }

    /// Values by templates, one for all rows or one for each.
    fn by_templates(&self, values: &ArrayRef, templates: &StringArray) -> DfResult<ArrayRef> {
        let zone: Tz = self.zone.parse()?;
        let mut known: Option<(String, Template)> = None;
        let mut of_row = |row: usize| -> Result<Option<Template>, Fault> {
            let row = if templates.len() == 1 { 0 } else { row };
            if templates.is_null(row) {
                return Ok(None);
            }
            let text = templates.value(row);
            if known.as_ref().is_none_or(|(before, _)| before != text) {
                known = Some((text.to_owned(), self.template(text)?));
            }
            Ok(known.as_ref().map(|(_, template)| template.clone()))
        };
        if self.which == Which::Char {
            let times = local(values, &zone, &self.zone)?;
            let mut texts = Vec::with_capacity(values.len());
            for (row, time) in times.into_iter().enumerate() {
                texts.push(of_row(row)?.zip(time).map(|(template, time)| template.write(time)));
            }
            return Ok(Arc::new(StringArray::from(texts)));
        }
        let texts = cast(values, &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        let mut times = Vec::with_capacity(values.len());
        for row in 0..texts.len() {
            let template = of_row(row)?;
            let text = texts.is_valid(row).then(|| texts.value(row));
            times.push(template.zip(text).map(|(template, text)| template.read(text)).transpose()?);
        }
        if self.which == Which::Date {
            let days = times.into_iter().map(|time| time.map(|time| Date32Type::from_naive_date(time.date())));
            return Ok(Arc::new(days.collect::<Date32Array>()));
        }
        let moments = times.into_iter().map(|time| time.map(|time| moment(&zone, time)));
        let moments: TimestampMicrosecondArray = moments.collect();
        Ok(Arc::new(moments.with_timezone(Arc::clone(&self.zone))))
    }
}

/// Local times of values with a zone, and the times that others are.
fn local(values: &ArrayRef, zone: &Tz, name: &Arc<str>) -> DfResult<Vec<Option<NaiveDateTime>>> {
    let has_zone = matches!(values.data_type(), DataType::Timestamp(_, Some(_)));
    let unit = TimeUnit::Microsecond;
    let wanted = DataType::Timestamp(unit, has_zone.then(|| Arc::clone(name)));
    let values = cast(values, &wanted)?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    let of = |row: usize| match has_zone {
        _ if values.is_null(row) => Ok(None),
        true => values.value_as_datetime_with_tz(row, *zone).map(|time| time.naive_local()).map(Some).ok_or(row),
        false => values.value_as_datetime(row).map(Some).ok_or(row),
    };
    let out_of_range = |_| DataFusionError::from(Fault::new("22008", "a time is out of range"));
    (0..values.len()).map(|row| of(row).map_err(out_of_range)).collect()
}

/// The moment of a local time: the earlier one where there are two; where there is none, as if the clock had not been put
/// forward.
fn moment(zone: &Tz, time: NaiveDateTime) -> i64 {
    let found = zone.from_local_datetime(&time).earliest();
    let found = found.or_else(|| zone.from_local_datetime(&(time + Duration::hours(1))).earliest());
    found.map_or_else(|| time.and_utc().timestamp_micros(), |time| time.timestamp_micros())
}

impl ScalarUDFImpl for ByTemplate {
    fn name(&self) -> &str {
        self.which.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(self.data_type())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let template = arguments.scalar_arguments.get(1).copied().flatten();
        let template = template.and_then(|value| value.try_as_str().flatten());
        if let Some(of) = arguments.arg_fields.first() {
            self.check(of.data_type(), template)?;
        }
        if let (2, Some(template)) = (arguments.arg_fields.len(), template.filter(|template| is_postgres(template))) {
            self.template(template)?;
        }
        Ok(Arc::new(Field::new(self.name(), self.data_type(), true)))
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if self.which == Which::Char && arguments.args.len() != 2 {
            let fault = Fault::new("42883", "`to_char` takes a time and a template");
            return Err(fault.hint("write `to_char(ordered_on, 'YYYY-MM')`").into());
        }
        for template in arguments.args.iter_mut().skip(1) {
            if template.data_type().is_string() || template.data_type().is_null() {
                *template = template.cast_to(&DataType::Utf8, None)?;
            }
        }
        let values = arguments.args.first().map(ColumnarValue::data_type);
        let of_text = values.as_ref().is_some_and(|of| of.is_string() || of.is_null());
        if self.which == Which::Char
            && of_text
            && let Some(value) = arguments.args.first_mut()
        {
            *value = value.cast_to(&DataType::Timestamp(TimeUnit::Nanosecond, None), None)?;
        }
        if let [value, template] = arguments.args.as_slice()
            && template.data_type() == DataType::Utf8
            && (self.which == Which::Char || of_text)
        {
            let templates = template.to_array(1)?;
            let templates = templates.as_string::<i32>();
            if templates.iter().flatten().all(is_postgres) {
                if let Some(first) = templates.iter().flatten().next() {
                    self.check(&value.data_type(), Some(first))?;
                }
                let one = matches!((value, template), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
                let values = value.to_array(if one { 1 } else { arguments.number_rows })?;
                let found = self.by_templates(&values, templates)?;
                return match one {
                    true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
                    false => Ok(ColumnarValue::Array(found)),
                };
            }
        }
        self.inner.inner().invoke_with_args(arguments)?.cast_to(&self.data_type(), None)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::serve::pg::cells;

    fn session(zone: &str) -> SessionContext {
        let mut state = SessionStateBuilder::new().with_default_features().build();
        state.config_mut().options_mut().execution.time_zone = Some(zone.to_owned());
        let session = SessionContext::new_with_state(state);
        for function in functions(zone) {
            session.register_udf(function);
        }
        session
    }

    #[tokio::test]
    async fn templates_of_postgres_and_of_chrono_are_both_taken() {
        let (utc, copenhagen) = (session("UTC"), session("Europe/Copenhagen"));
        let rows = "(VALUES (TIMESTAMP '2026-07-05 14:07:09', 'YYYY'), (NULL, 'MM'), (TIMESTAMP '2026-07-05 14:07:09', 'DD')) t(at, template)";
        for (sql, wanted) in [
            ("SELECT to_char(TIMESTAMP '2026-03-05 14:07:09', 'YYYY-MM')".to_owned(), "2026-03"),
            ("SELECT to_char(DATE '2026-03-05', 'FMMonth YYYY')".to_owned(), "March 2026"),
            ("SELECT to_char(DATE '2026-03-05', '%d/%m')".to_owned(), "05/03"),
            (format!("SELECT to_char(at, 'YYYY-MM-DD HH24:MI') FROM {rows}"), "2026-07-05 14:07;;2026-07-05 14:07"),
            (format!("SELECT to_char(at, template) FROM {rows}"), "2026;;05"),
            ("SELECT to_date('05.03.2026', 'DD.MM.YYYY')".to_owned(), "2026-03-05"),
            ("SELECT to_date('2026-03-05', '%Y-%m-%d')".to_owned(), "2026-03-05"),
            ("SELECT to_date(NULL, 'YYYY')".to_owned(), ""),
            (
                "SELECT to_timestamp('2026-03-05 14:07:09.5', 'YYYY-MM-DD HH24:MI:SS.US')".to_owned(),
                "2026-03-05T14:07:09.500Z",
            ),
            ("SELECT to_timestamp('2026-03-05 14:07', '%Y-%m-%d %H:%M')".to_owned(), "2026-03-05T14:07:00Z"),
            ("SELECT to_timestamp('2900-03-05', 'YYYY-MM-DD')".to_owned(), "2900-03-05T00:00:00Z"),
            ("SELECT to_timestamp(0)".to_owned(), "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(cells(&utc, &sql).await.unwrap(), wanted, "{sql}");
        }
        for (sql, wanted) in [
            ("SELECT to_char(TIMESTAMPTZ '2026-07-05 14:07:09+00', 'HH24:MI')", "16:07"),
            ("SELECT to_timestamp('2026-07-05 16', 'YYYY-MM-DD HH24')", "2026-07-05T16:00:00+02:00"),
            // Twice, and never.
            ("SELECT to_timestamp('2026-10-25 02:30', 'YYYY-MM-DD HH24:MI')", "2026-10-25T02:30:00+02:00"),
            ("SELECT to_timestamp('2026-03-29 02:30', 'YYYY-MM-DD HH24:MI')", "2026-03-29T03:30:00+02:00"),
        ] {
            assert_eq!(cells(&copenhagen, sql).await.unwrap(), wanted, "{sql}");
        }
        for (sql, state) in [
            ("SELECT to_char(DATE '2026-03-05', 'YYYY-MM-DDTHH24')", "0A000"),
            ("SELECT to_char(1234.5, '9G999D9')", "0A000"),
            ("SELECT to_char(INTERVAL '1 day', 'DD')", "0A000"),
            ("SELECT to_date('2026-10', 'IYYY-IW')", "0A000"),
            ("SELECT to_date('soon', 'YYYY-MM-DD')", "22007"),
            ("SELECT to_date('2026-02-30', 'YYYY-MM-DD')", "22008"),
        ] {
            let fault = cells(&utc, sql).await.unwrap_err();
            assert_eq!(fault.state, state, "{sql}: {}", fault.message);
        }
    }

    #[tokio::test]
    async fn the_present_has_a_zone() {
        let session = session("UTC");
        assert_eq!(
            cells(&session, "SELECT arrow_typeof(now()) = arrow_typeof(current_timestamp)").await.unwrap(),
            "true"
        );
        assert!(cells(&session, "SELECT arrow_typeof(now())").await.unwrap().contains("UTC"));
    }
}
