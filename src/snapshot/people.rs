//! The day's customers by their dense number, with what the sizes of segments are made of.

use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// What each has spent and ordered; side by side, as they are added up for the same customers.
    spending: Vec<Spending>,
}

/// What one customer has spent and ordered, money in hundredths of the shop's currency.
#[derive(Debug, Clone, Copy, Default)]
struct Spending {
    amount: i64,
    revenue_30d: i64,
    orders_30d: u32,
}

/// What some customers have spent and ordered together, money in hundredths of the shop's currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) amount: i128,
    pub(super) orders_30d: i64,
    pub(super) revenue_30d: i128,
}

/// Customers whose spending is added up together.
const CHUNK: usize = 1 << 14;

impl Spent {
    fn add(&mut self, other: Self) {
        self.amount += other.amount;
        self.orders_30d += other.orders_30d;
        self.revenue_30d += other.revenue_30d;
    }
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
            spending: Vec::new(),
        };
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let names = cast(batch.column(1), &DataType::LargeUtf8)?;
            let names = names.as_string::<i64>();
            let (email, sms) = (batch.column(2).as_boolean(), batch.column(3).as_boolean());
            let orders = batch.column(4).as_primitive::<Int64Type>();
            let spent = batch.column(5).as_primitive::<Decimal128Type>();
            for row in 0..batch.num_rows() {
                let number = u32::try_from(people.spending.len())
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
                let amount = hundredths(spent.value(row))?;
                people.spending.push(Spending { amount, ..Spending::default() });
            }
        }
        people.ids = ids.finish();
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
                if let Some(own) = self.spending.get_mut(at) {
                    own.orders_30d = u32::try_from(orders.value(row)).unwrap_or(u32::MAX);
                    own.revenue_30d = hundredths(if revenue.is_valid(row) { revenue.value(row) } else { 0 })?;
                }
            }
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// What everybody has spent, in hundredths of the shop's currency.
    pub(super) fn amount_spent(&self) -> i128 {
        self.spending.iter().map(|own| i128::from(own.amount)).sum()
    }

    /// What each of some sets of customers has spent and ordered, in the order of the sets, added up on so many threads.
    pub(super) fn spent(&self, sets: &[&RoaringBitmap], threads: usize) -> Vec<Spent> {
        // A few customers for all sets, then the next few: what they have spent stays near the processor.
        let chunks = self.spending.len().div_ceil(CHUNK);
        let next = AtomicUsize::new(0);
        let of_thread = &|| {
            let mut sums = vec![Spent::default(); sets.len()];
            loop {
                let chunk = next.fetch_add(1, Ordering::Relaxed);
                if chunk >= chunks {
                    return sums;
                }
                for (sum, set) in sums.iter_mut().zip(sets) {
                    sum.add(self.spent_by(set, chunk * CHUNK));
                }
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads.min(chunks)).map(|_| scope.spawn(of_thread)).collect();
            let mut sums = of_thread();
            for other in others {
                let of_other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                sums.iter_mut().zip(of_other).for_each(|(sum, of_other)| sum.add(of_other));
            }
            sums
        })
    }

    /// What those of a set have spent who are among the customers from `first` on.
    fn spent_by(&self, customers: &RoaringBitmap, first: usize) -> Spent {
        let mut sum = Spent::default();
        let own = self.spending.get(first..).unwrap_or_default();
        let own = own.get(..CHUNK).unwrap_or(own);
        let Ok(first) = u32::try_from(first) else { return sum };
        let members = customers.range(first..=first.saturating_add(CHUNK as u32 - 1));
        for own in members.filter_map(|number| own.get((number - first) as usize)) {
            sum.amount += i128::from(own.amount);
            sum.orders_30d += i64::from(own.orders_30d);
            sum.revenue_30d += i128::from(own.revenue_30d);
        }
        sum
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
            spending: vec![Spending::default(); ids.len()],
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
    fn what_sets_have_spent_is_added_up_on_any_number_of_threads() {
        let mut people = People::of(&["a", "b", "c", "d"]);
        people.spending.resize(3 * CHUNK + 5, Spending::default());
        let own = |number: usize| Spending {
            amount: 100 * number as i64,
            revenue_30d: -(number as i64),
            orders_30d: number as u32 % 3,
        };
        people.spending.iter_mut().enumerate().for_each(|(number, spending)| *spending = own(number));
        let count = people.spending.len() as u32;
        let around = |chunk: u32| (chunk * CHUNK as u32 - 2)..(chunk * CHUNK as u32 + 2);
        let sets: Vec<RoaringBitmap> = vec![
            [].into(),
            [0, 1].into(),
            around(1).chain(around(3)).collect(),
            (0..count).filter(|number| number % 7 != 0).collect(),
            [count - 1, count, u32::MAX].into(),
        ];
        let sum = |set: &RoaringBitmap| {
            let own = set.iter().filter(|number| *number < count).map(|number| own(number as usize));
            own.fold(Spent::default(), |sum, own| Spent {
                amount: sum.amount + i128::from(own.amount),
                orders_30d: sum.orders_30d + i64::from(own.orders_30d),
                revenue_30d: sum.revenue_30d + i128::from(own.revenue_30d),
            })
        };
        let expected: Vec<Spent> = sets.iter().map(sum).collect();
        assert!(expected[2].amount > 0 && expected[2].revenue_30d < 0 && expected[4].amount > 0);
        let sets: Vec<&RoaringBitmap> = sets.iter().collect();
        for threads in [1, 2, 9] {
            assert_eq!(people.spent(&sets, threads), expected);
        }
        assert_eq!(people.spent(&[], 2), []);
        assert_eq!(People::of(&[]).spent(&sets, 2), [Spent::default(); 5]);
        let amount = i128::from(count - 1) * i128::from(count) / 2 * 100;
        assert_eq!(people.amount_spent(), amount);
    }

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
