//! Operators that Postgres has and the engine does not: intervals times numbers, and truth values beside their texts.

use std::sync::Arc;

use arrow::array::{AsArray, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast, lit,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::serve::fault::Fault;

const DAYS_A_MONTH: f64 = 30.0;
const SECONDS_A_DAY: f64 = 86_400.0;
const NANOS_A_SECOND: f64 = 1e9;
const NANOS_A_MICRO: f64 = 1e3;

/// The intervals that the engine calculates with.
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Plans them.
#[derive(Debug)]
pub(super) struct Operators {
    times: Arc<ScalarUDF>,
    by: Arc<ScalarUDF>,
}

impl Operators {
    pub(super) fn new() -> Self {
        let of = |divides| {
            let signature = Signature::exact(vec![INTERVAL, DataType::Float64], Volatility::Immutable);
            Arc::new(ScalarUDF::new_from_impl(Scaled { divides, signature }))
        };
        Self { times: of(false), by: of(true) }
    }

    fn scaled(&self, expr: RawBinaryExpr, schema: &DFSchema) -> PlannerResult<RawBinaryExpr> {
        let kind = |expr: &Expr| match expr.get_type(schema) {
            Ok(DataType::Interval(_) | DataType::Duration(_)) => Kind::Interval,
            Ok(data_type) if data_type.is_numeric() || data_type.is_null() => Kind::Number,
            _ => Kind::Other,
        };
        let (kinds, divides) = ((kind(&expr.left), kind(&expr.right)), expr.op == BinaryOperator::Divide);
        let (interval, number) = match kinds {
            (Kind::Interval, Kind::Number) => (expr.left, expr.right),
            (Kind::Number, Kind::Interval) if !divides => (expr.right, expr.left),
            _ => return PlannerResult::Original(expr),
        };
        let function = if divides { &self.by } else { &self.times };
        PlannerResult::Planned(function.call(vec![cast(interval, INTERVAL), cast(number, DataType::Float64)]))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Interval,
    Number,
    Other,
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, mut expr: RawBinaryExpr, schema: &DFSchema) -> DfResult<PlannerResult<RawBinaryExpr>> {
        match expr.op {
            BinaryOperator::Multiply | BinaryOperator::Divide => Ok(self.scaled(expr, schema)),
            BinaryOperator::Eq | BinaryOperator::NotEq => {
                let is_truth = |expr: &Expr| expr.get_type(schema).is_ok_and(|of| of == DataType::Boolean);
                if let Some(truth) = truth(&expr.right).filter(|_| is_truth(&expr.left)) {
                    expr.right = lit(truth);
                } else if let Some(truth) = truth(&expr.left).filter(|_| is_truth(&expr.right)) {
                    expr.left = lit(truth);
                }
                Ok(PlannerResult::Original(expr))
            }
            _ => Ok(PlannerResult::Original(expr)),
        }
    }
}

/// A truth value as a text has it: a word that says it, or as much of one as no other begins with.
fn truth(expr: &Expr) -> Option<bool> {
    let Expr::Literal(value, _) = expr else { return None };
    let text = value.try_as_str()??.trim().to_lowercase();
    let begins = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    match text.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if begins("true", 1) || begins("yes", 1) || begins("on", 2) => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Some(false),
        _ => None,
    }
}

/// An interval times a number, or by one.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Scaled {
    divides: bool,
    signature: Signature,
}

/// As Postgres does it: what is left of months becomes days of which a month has thirty, what is left of days becomes time.
fn scaled(interval: IntervalMonthDayNano, by: impl Fn(f64) -> f64) -> Option<IntervalMonthDayNano> {
    let micros = |value: f64| (value * 1e6).round() / 1e6;
    let (months, days) = (by(interval.months.into()), by(interval.days.into()));
    let of_months = micros((months - months.trunc()) * DAYS_A_MONTH);
    let mut seconds = micros((days - days.trunc() + of_months - of_months.trunc()) * SECONDS_A_DAY);
    let mut whole_days = days.trunc() + of_months.trunc();
    if seconds.abs() >= SECONDS_A_DAY {
        let more = (seconds / SECONDS_A_DAY).trunc();
        whole_days += more;
        seconds -= more * SECONDS_A_DAY;
    }
    // An interval is told to the microsecond.
    let time = by(interval.nanoseconds as f64) + seconds * NANOS_A_SECOND;
    let time = (time / NANOS_A_MICRO).round() * NANOS_A_MICRO;
    let fits = |value: f64| value.abs() < f64::from(i32::MAX);
    let all_fit = fits(months) && fits(whole_days) && time.abs() < i64::MAX as f64;
    all_fit.then(|| IntervalMonthDayNano::new(months.trunc() as i32, whole_days as i32, time as i64))
}

impl ScalarUDFImpl for Scaled {
    fn name(&self) -> &'static str {
        if self.divides { "interval_div" } else { "interval_mul" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DfResult<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let one = arguments.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if one { 1 } else { arguments.number_rows };
        let (Some(intervals), Some(numbers)) = (arguments.args.first(), arguments.args.get(1)) else {
            return Err(Fault::new("42883", "an interval is multiplied by one number").into());
        };
        let (intervals, numbers) = (intervals.to_array(rows)?, numbers.to_array(rows)?);
        let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
        let numbers = numbers.as_primitive::<Float64Type>();
        let mut found = Vec::with_capacity(rows);
        for (interval, number) in intervals.iter().zip(numbers) {
            let (Some(interval), Some(number)) = (interval, number) else {
                found.push(None);
                continue;
            };
            if self.divides && number == 0.0 {
                return Err(Fault::new("22012", "an interval is divided by zero").into());
            }
            let by = |value: f64| if self.divides { value / number } else { value * number };
            match scaled(interval, by) {
                Some(interval) => found.push(Some(interval)),
                None => return Err(Fault::new("22008", "an interval is out of range").into()),
            }
        }
        let found: IntervalMonthDayNanoArray = found.into_iter().collect();
        match one {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(found))),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::serve::pg::cells;

    async fn asked(sql: &str) -> Result<String, Fault> {
        let mut state = SessionStateBuilder::new().with_default_features().build();
        state.register_expr_planner(Arc::new(Operators::new())).unwrap();
        cells(&SessionContext::new_with_state(state), sql).await
    }

    #[tokio::test]
    async fn intervals_are_multiplied_and_divided_as_in_postgres() {
        // As PostgreSQL 15 answers.
        for (sql, wanted) in [
            ("INTERVAL '5 minutes' * floor(7.0 / 5)", "5 mins"),
            ("3 * INTERVAL '30 seconds'", "1 mins 30.000000000 secs"),
            ("INTERVAL '1 month' * 1.5", "1 mons 15 days"),
            ("INTERVAL '1 day' / 2", "12 hours"),
            ("INTERVAL '1 month' / 4", "7 days 12 hours"),
            ("INTERVAL '1 day' * -1", "-1 days"),
            ("INTERVAL '1 day' * NULL", ""),
            ("CAST(NULL AS INTERVAL) * 2", ""),
        ] {
            let found = asked(&format!("SELECT {sql}")).await.unwrap();
            assert_eq!(found, wanted, "{sql}");
        }
        let rows =
            "SELECT TIMESTAMP '2026-01-01 10:00:00' + INTERVAL '10 minutes' * n FROM (VALUES (1), (NULL), (3)) t(n)";
        assert_eq!(asked(rows).await.unwrap(), "2026-01-01T10:10:00;;2026-01-01T10:30:00");
        for (sql, state) in [("INTERVAL '1 day' / 0", "22012"), ("INTERVAL '1 day' * 1e12", "22008")] {
            assert_eq!(asked(&format!("SELECT {sql}")).await.unwrap_err().state, state, "{sql}");
        }
    }

    #[tokio::test]
    async fn truth_values_are_compared_with_their_texts() {
        let rows = "(VALUES (true), (false)) t(x)";
        for (test, wanted) in [("x = 'f'", "false"), ("x <> 'off'", "true"), ("'t' = x", "true"), ("x = '1'", "true")] {
            assert_eq!(asked(&format!("SELECT x FROM {rows} WHERE {test}")).await.unwrap(), wanted, "{test}");
        }
        assert!(asked(&format!("SELECT x FROM {rows} WHERE x = 'o'")).await.is_err());
    }
}
