//! The day's customers by their dense number, with what the sizes of segments are made of.

use arrow::array::{Array, AsArray, LargeStringArray, LargeStringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use roaring::RoaringBitmap;

use crate::engine::statement::{Params, plan_text};
use crate::error::{Error, Result};

/// The day's customers: number n is the n-th in the order of customer_id.
#[derive(Debug)]
pub(super) struct People {
    ids: LargeStringArray,
    pub(super) email_reachable: RoaringBitmap,
    pub(super) sms_reachable: RoaringBitmap,
    pub(super) buyers: RoaringBitmap,
    /// Money in hundredths of the shop's currency.
    pub(super) spent: Vec<i64>,
    pub(super) orders_30d: Vec<u32>,
    pub(super) revenue_30d: Vec<i64>,
}

impl People {
    /// Reads the session's `profile`, `customers` and `orders`. The parameter `$as_of` is bound in `params`.
    pub(super) async fn read(session: &SessionContext, params: &Params) -> Result<Self> {
        let sql = "SELECT customer_no, customer_id, email_reachable, sms_reachable, number_of_orders, amount_spent \
                   FROM profile ORDER BY customer_no";
        let mut stream = plan_text(session, sql, &Params::new()).await?.execute_stream().await?;
        let mut ids = LargeStringBuilder::new();
        let mut people = Self {
            ids: LargeStringBuilder::new().finish(),
            email_reachable: RoaringBitmap::new(),
            sms_reachable: RoaringBitmap::new(),
            buyers: RoaringBitmap::new(),
            spent: Vec::new(),
            orders_30d: Vec::new(),
            revenue_30d: Vec::new(),
        };
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let names = cast(batch.column(1), &DataType::LargeUtf8)?;
            let names = names.as_string::<i64>();
            let (email, sms) = (batch.column(2).as_boolean(), batch.column(3).as_boolean());
            let orders = batch.column(4).as_primitive::<Int64Type>();
            let spent = batch.column(5).as_primitive::<Decimal128Type>();
            for row in 0..batch.num_rows() {
                let number = u32::try_from(people.spent.len())
                    .map_err(|_| Error::internal("snapshot.too_many", "more than 2^32 customers"))?;
                ids.append_value(names.value(row));
                if email.is_valid(row) && email.value(row) {
                    people.email_reachable.insert(number);
                }
                if sms.is_valid(row) && sms.value(row) {
                    people.sms_reachable.insert(number);
                }
                if orders.value(row) > 0 {
                    people.buyers.insert(number);
                }
                people.spent.push(hundredths(spent.value(row))?);
            }
        }
        people.ids = ids.finish();
        people.orders_30d = vec![0; people.ids.len()];
        people.revenue_30d = vec![0; people.ids.len()];
        people.read_recent(session, params).await?;
        Ok(people)
    }

    async fn read_recent(&mut self, session: &SessionContext, params: &Params) -> Result<()> {
        let sql = "SELECT customer_no, count(*) AS orders, sum(net_amount) AS revenue FROM orders \
                   WHERE is_counted AND ordered_on > CAST($as_of AS DATE) - INTERVAL '30 days' GROUP BY customer_no";
        let mut stream = plan_text(session, sql, params).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let number = cast(batch.column(0), &DataType::Int64)?;
            let number = number.as_primitive::<Int64Type>();
            let orders = batch.column(1).as_primitive::<Int64Type>();
            let revenue = batch.column(2).as_primitive::<Decimal128Type>();
            for row in 0..batch.num_rows() {
                let at = usize::try_from(number.value(row)).unwrap_or(usize::MAX);
                if let (Some(count), Some(sum)) = (self.orders_30d.get_mut(at), self.revenue_30d.get_mut(at)) {
                    *count = u32::try_from(orders.value(row)).unwrap_or(u32::MAX);
                    *sum = hundredths(if revenue.is_valid(row) { revenue.value(row) } else { 0 })?;
                }
            }
        }
        Ok(())
    }

    /// The customer_id of a number.
    pub(super) fn id(&self, number: u32) -> &str {
        self.ids.value(number as usize)
    }

    /// The number of a customer_id, looked for from `hint` on first: ids mostly come in order.
    pub(super) fn number(&self, id: &str, hint: &mut usize) -> Option<u32> {
        let len = self.ids.len();
        let mut low = if *hint < len && self.ids.value(*hint) <= id { *hint } else { 0 };
        let mut step = 1;
        while low + step < len && self.ids.value(low + step) <= id {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(len);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.ids.value(middle).cmp(id) {
                std::cmp::Ordering::Equal => {
                    *hint = middle;
                    return u32::try_from(middle).ok();
                }
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        *hint = low.min(len.saturating_sub(1));
        None
    }

    #[cfg(test)]
    pub(super) fn of(ids: &[&str]) -> Self {
        Self {
            ids: LargeStringArray::from_iter_values(ids),
            email_reachable: RoaringBitmap::new(),
            sms_reachable: RoaringBitmap::new(),
            buyers: RoaringBitmap::new(),
            spent: vec![0; ids.len()],
            orders_30d: vec![0; ids.len()],
            revenue_30d: vec![0; ids.len()],
        }
    }
}

fn hundredths(value: i128) -> Result<i64> {
    i64::try_from(value)
        .map_err(|_| Error::input("snapshot.too_much_money", "one customer's spend exceeds 2^63 hundredths"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_from_any_hint() {
        let people = People::of(&["a", "c", "e", "g", "i", "k"]);
        for mut hint in 0..8 {
            assert_eq!(people.number("g", &mut hint), Some(3));
            assert_eq!(people.number("b", &mut hint), None);
            assert_eq!(people.number("a", &mut hint), Some(0));
            assert_eq!(people.number("k", &mut hint), Some(5));
            assert_eq!(people.number("z", &mut hint), None);
        }
        assert_eq!(People::of(&[]).number("a", &mut 0), None);
    }
}
