//! The model's formulas as vectorised SQL functions. They are plain named functions without state, so that a plan which
//! calls them can be sent elsewhere and rebuilt by name.

use std::cell::RefCell;

use arrow::array::{Array, Float64Array, Float64Builder};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::model::{History, OrderValueParameters, Parameters, Variant};
use super::outlook::Expectation;
use crate::error::Error;

/// What one of the functions gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Quantity {
    POrder,
    PAlive,
    Silence,
    ExpectedOrders,
    NextOrderDays,
    LogLikelihood,
}

impl Quantity {
    const ALL: [Self; 6] =
        [Self::POrder, Self::PAlive, Self::Silence, Self::ExpectedOrders, Self::NextOrderDays, Self::LogLikelihood];

    fn name(self, variant: Variant) -> &'static str {
        match (variant, self) {
            (Variant::Mbg, Self::POrder) => "mbg_p_order",
            (Variant::Mbg, Self::PAlive) => "mbg_p_alive",
            (Variant::Mbg, Self::Silence) => "mbg_silence",
            (Variant::Mbg, Self::ExpectedOrders) => "mbg_expected_orders",
            (Variant::Mbg, Self::NextOrderDays) => "mbg_next_order_days",
            (Variant::Mbg, Self::LogLikelihood) => "mbg_log_likelihood",
            (Variant::Bg, Self::POrder) => "bg_p_order",
            (Variant::Bg, Self::PAlive) => "bg_p_alive",
            (Variant::Bg, Self::Silence) => "bg_silence",
            (Variant::Bg, Self::ExpectedOrders) => "bg_expected_orders",
            (Variant::Bg, Self::NextOrderDays) => "bg_next_order_days",
            (Variant::Bg, Self::LogLikelihood) => "bg_log_likelihood",
        }
    }

    fn takes_horizon(self) -> bool {
        matches!(self, Self::POrder | Self::ExpectedOrders)
    }
}

/// `mbg_…` or `bg_…(r, alpha, a, b, x, t_x, t_cap [, horizon])`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct HistoryFunction {
    variant: Variant,
    quantity: Quantity,
    signature: Signature,
}

/// `gg_order_value(p, q, v, n, m)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderValueFunction {
    signature: Signature,
}

/// The functions that the lifecycle statements call, and their BG/NBD counterparts; every argument and result is a
/// double.
///
/// - `mbg_p_order(r, alpha, a, b, x, t_x, t_cap, horizon)`: the chance of an order within `horizon` days
/// - `mbg_expected_orders(…, horizon)`: expected order days within `horizon` days
/// - `mbg_p_alive(r, alpha, a, b, x, t_x, t_cap)`, `mbg_silence(…)`, `mbg_next_order_days(…)`, `mbg_log_likelihood(…)`
/// - the same as `bg_…`
/// - `gg_order_value(p, q, v, n, m)`: the expected value of an order day after `n` order days of mean value `m`
///
/// A null argument gives null, and so does a history that cannot be (a negative or missing age); parameters that
/// cannot be stop the query.
pub fn functions() -> Vec<ScalarUDF> {
    let doubles = |n: usize| Signature::exact(vec![DataType::Float64; n], Volatility::Immutable);
    let mut all: Vec<ScalarUDF> = [Variant::Mbg, Variant::Bg]
        .into_iter()
        .flat_map(|variant| Quantity::ALL.map(|quantity| (variant, quantity)))
        .map(|(variant, quantity)| {
            let signature = doubles(if quantity.takes_horizon() { 8 } else { 7 });
            ScalarUDF::from(HistoryFunction { variant, quantity, signature })
        })
        .collect();
    all.push(ScalarUDF::from(OrderValueFunction { signature: doubles(5) }));
    all
}

/// An argument: the same for every row, or a column.
enum Argument<'a> {
    Same(Option<f64>),
    Column(&'a Float64Array),
}

impl<'a> Argument<'a> {
    fn of(name: &str, value: &'a ColumnarValue) -> Result<Self> {
        match value {
            ColumnarValue::Scalar(ScalarValue::Float64(value)) => Ok(Self::Same(*value)),
            ColumnarValue::Scalar(ScalarValue::Null) => Ok(Self::Same(None)),
            ColumnarValue::Array(array) => match array.as_any().downcast_ref::<Float64Array>() {
                Some(column) => Ok(Self::Column(column)),
                None => Err(not_double(name, array.data_type())),
            },
            ColumnarValue::Scalar(other) => Err(not_double(name, &other.data_type())),
        }
    }

    fn at(&self, row: usize) -> Option<f64> {
        match self {
            Self::Same(value) => *value,
            Self::Column(column) => column.is_valid(row).then(|| column.value(row)),
        }
    }

    fn is_same(&self) -> bool {
        matches!(self, Self::Same(_))
    }
}

fn not_double(name: &str, found: &DataType) -> DataFusionError {
    Error::internal("lifecycle.argument", format!("`{name}` takes doubles, not {found}")).into()
}

/// The values of `arguments` at `row`, if none is null.
fn row_of<const N: usize>(arguments: &[Argument<'_>], row: usize) -> Option<[f64; N]> {
    let mut values = [0.0; N];
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = argument.at(row)?;
    }
    Some(values)
}

/// Runs `value` over the rows with `model` made once if the model's arguments are the same for all.
fn evaluate<M>(
    name: &str,
    args: &ScalarFunctionArgs,
    model_arguments: usize,
    model: impl Fn(&[Argument<'_>], usize) -> Result<Option<M>>,
    value: impl Fn(&M, &[Argument<'_>], usize) -> Option<f64>,
) -> Result<ColumnarValue> {
    let arguments = args.args.iter().map(|value| Argument::of(name, value)).collect::<Result<Vec<_>>>()?;
    let (of_model, rest) = arguments
        .split_at_checked(model_arguments)
        .ok_or_else(|| Error::internal("lifecycle.argument", format!("`{name}` lacks arguments")))?;
    if of_model.iter().all(Argument::is_same) {
        let model = model(of_model, 0)?;
        let at = |row| model.as_ref().and_then(|model| value(model, rest, row));
        if rest.iter().all(Argument::is_same) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Float64(at(0))));
        }
        let column: Float64Array = (0..args.number_rows).map(at).collect();
        return Ok(ColumnarValue::Array(std::sync::Arc::new(column)));
    }
    let mut column = Float64Builder::with_capacity(args.number_rows);
    for row in 0..args.number_rows {
        column.append_option(model(of_model, row)?.and_then(|model| value(&model, rest, row)));
    }
    Ok(ColumnarValue::Array(std::sync::Arc::new(column.finish())))
}

impl ScalarUDFImpl for HistoryFunction {
    fn name(&self) -> &str {
        self.quantity.name(self.variant)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let quantity = self.quantity;
        evaluate(
            self.name(),
            &args,
            4,
            |arguments, row| {
                let Some([r, alpha, a, b]) = row_of(arguments, row) else { return Ok(None) };
                let model = Parameters::new(self.variant, r, alpha, a, b)?;
                Ok(Some((model, RefCell::new(Expectation::new(model, 0.0)))))
            },
            |(model, expectation), arguments, row| {
                let [x, recency, age] = row_of(arguments, row)?;
                let history = History::new(x, recency, age)?;
                let horizon = match arguments.get(3) {
                    Some(horizon) => horizon.at(row).filter(|horizon| horizon.is_finite())?,
                    None => 0.0,
                };
                Some(match quantity {
                    Quantity::POrder => model.p_order(&history, horizon),
                    Quantity::PAlive => model.p_alive(&history),
                    Quantity::Silence => model.silence(&history),
                    Quantity::ExpectedOrders => {
                        let mut expectation = expectation.borrow_mut();
                        if expectation.horizon().to_bits() != horizon.to_bits() {
                            *expectation = Expectation::new(*model, horizon);
                        }
                        expectation.of(&history)
                    }
                    Quantity::NextOrderDays => model.next_order_days(&history),
                    Quantity::LogLikelihood => model.log_likelihood(&history),
                })
            },
        )
    }
}

impl ScalarUDFImpl for OrderValueFunction {
    fn name(&self) -> &str {
        "gg_order_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        evaluate(
            self.name(),
            &args,
            3,
            |arguments, row| {
                let Some([p, q, v]) = row_of(arguments, row) else { return Ok(None) };
                Ok(Some(OrderValueParameters::new(p, q, v)?))
            },
            |model, arguments, row| {
                let [order_days, mean] = row_of(arguments, row)?;
                let sound = order_days >= 0.0 && order_days.is_finite() && mean.is_finite();
                sound.then(|| model.order_value(order_days, mean))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::tests::shop::session;

    async fn first(sql: &str) -> Result<Option<f64>> {
        let batches = session().sql(sql).await?.collect().await?;
        let column = batches[0].column(0).as_any().downcast_ref::<Float64Array>().unwrap();
        Ok(column.is_valid(0).then(|| column.value(0)))
    }

    #[tokio::test]
    async fn literals_columns_and_whole_numbers_give_the_same() {
        let model = Parameters::new(Variant::Mbg, 0.7, 60.0, 0.6, 1.5).unwrap();
        let wanted = model.p_order(&History::new(2.0, 30.0, 50.0).unwrap(), 90.0);
        for sql in [
            "SELECT mbg_p_order(0.7, 60.0, 0.6, 1.5, 2.0, 30.0, 50.0, 90.0)",
            "SELECT mbg_p_order(0.7, 60, 0.6, 1.5, 2, 30, 50, 90)",
            "SELECT mbg_p_order(0.7, 60, 0.6, 1.5, x, t_x, age, h) FROM (VALUES (2, 30, 50, 90)) AS t (x, t_x, age, h)",
            "SELECT mbg_p_order(r, 60, 0.6, b, x, 30, 50, 90) FROM (VALUES (0.7, 1.5, 2)) AS t (r, b, x)",
        ] {
            assert_eq!(first(sql).await.unwrap(), Some(wanted), "{sql}");
        }
    }

    #[tokio::test]
    async fn each_function_gives_its_formula() {
        let history = History::new(2.0, 30.0, 50.0).unwrap();
        for (prefix, variant) in [("mbg", Variant::Mbg), ("bg", Variant::Bg)] {
            let model = Parameters::new(variant, 0.7, 60.0, 0.6, 1.5).unwrap();
            for (name, horizon, wanted) in [
                ("p_order", ", 90", model.p_order(&history, 90.0)),
                ("expected_orders", ", 90", model.expected_orders(&history, 90.0)),
                ("p_alive", "", model.p_alive(&history)),
                ("silence", "", model.silence(&history)),
                ("next_order_days", "", model.next_order_days(&history)),
                ("log_likelihood", "", model.log_likelihood(&history)),
            ] {
                let sql = format!("SELECT {prefix}_{name}(0.7, 60, 0.6, 1.5, 2, 30, 50{horizon})");
                assert_eq!(first(&sql).await.unwrap(), Some(wanted), "{sql}");
            }
        }
        let wanted = OrderValueParameters::new(6.0, 4.0, 15.0).unwrap().order_value(3.0, 20.0);
        assert_eq!(first("SELECT gg_order_value(6, 4, 15, 3, 20)").await.unwrap(), Some(wanted));
    }

    #[tokio::test]
    async fn nulls_and_histories_that_cannot_be_give_null() {
        for sql in [
            "SELECT mbg_p_alive(0.7, 60, 0.6, 1.5, NULL, 30, 50)",
            "SELECT mbg_p_alive(NULL, 60, 0.6, 1.5, 2, 30, 50)",
            "SELECT mbg_p_alive(0.7, 60, 0.6, 1.5, -1, 30, 50)",
            "SELECT mbg_expected_orders(0.7, 60, 0.6, 1.5, 2, 30, 'NaN'::double, 90)",
            "SELECT mbg_expected_orders(0.7, 60, 0.6, 1.5, 2, 30, 50, 'inf'::double)",
            "SELECT mbg_p_alive(0.7, 60, 0.6, 1.5, x, 30, 50) FROM (VALUES (CAST(NULL AS DOUBLE))) AS t (x)",
            "SELECT gg_order_value(6, 4, 15, -1, 20)",
        ] {
            assert_eq!(first(sql).await.unwrap(), None, "{sql}");
        }
    }

    #[tokio::test]
    async fn parameters_that_cannot_be_stop_the_query() {
        for sql in [
            "SELECT mbg_p_alive(0, 60, 0.6, 1.5, x, 30, 50) FROM (VALUES (1), (2)) AS t (x)",
            "SELECT gg_order_value(6, 1, 15, x, 20) FROM (VALUES (1), (2)) AS t (x)",
        ] {
            let error = Error::from(first(sql).await.unwrap_err());
            assert_eq!(error.code(), "lifecycle.parameters");
        }
    }
}
