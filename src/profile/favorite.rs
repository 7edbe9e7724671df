//! `favorite(name, quantity, at)`: what somebody bought most of, and of how many different things.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, ListArray, StringBuilder, StringViewBuilder,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type, TimestampMicrosecondType};
use datafusion::common::{HashMap, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;

use crate::schema::landed::instant_type;

/// The aggregate function `favorite`.
///
/// Of the rows with a name it adds up the quantities by name, and gives a struct of `favorite`, the name with the most (ties
/// by the latest time, then by name; null without any name), and `different`, how many names there are. One grouping by
/// customer does what would take groupings by customer and name, and a sort.
pub fn favorite_function() -> AggregateUDF {
    AggregateUDF::new_from_impl(Favorite { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Favorite {
    signature: Signature,
}

fn result_fields() -> Fields {
    Fields::from(vec![Field::new("favorite", DataType::Utf8View, true), Field::new("different", DataType::Int64, true)])
}

fn element(data_type: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type, true))
}

impl AggregateUDFImpl for Favorite {
    fn name(&self) -> &str {
        "favorite"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        if arguments.len() != 3 {
            return exec_err!("favorite takes a name, a quantity and a time");
        }
        Ok(vec![DataType::Utf8View, DataType::Int64, instant_type()])
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(result_fields()))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |name: &str, data_type: DataType| {
            Arc::new(Field::new(format_state_name(arguments.name, name), DataType::List(element(data_type)), true))
        };
        Ok(vec![list("names", DataType::Utf8), list("quantities", DataType::Int64), list("times", DataType::Int64)])
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Alone(Favorites::default())))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Favorites::default()))
    }
}

/// Names by number: a shop sells few things many times.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    bytes: usize,
}

impl Names {
    fn number(&mut self, text: &str) -> Result<u32> {
        if let Some(number) = self.numbers.get(text) {
            return Ok(*number);
        }
        let Ok(number) = u32::try_from(self.texts.len()) else { return exec_err!("favorite has too many names") };
        let text: Arc<str> = text.into();
        self.bytes += text.len() + 2 * size_of::<usize>();
        self.texts.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        Ok(number)
    }

    fn size(&self) -> usize {
        let number = size_of::<(Arc<str>, u32)>() + 1;
        self.bytes + self.numbers.capacity() * number + self.texts.capacity() * size_of::<Arc<str>>()
    }
}

/// What was bought under one name: the quantity, and the latest time in microseconds.
#[derive(Debug, Clone, Copy)]
struct Bought {
    quantity: i64,
    last_at: i64,
}

/// What was bought of one name in one group.
type Sum = ((u32, u32), Bought);

/// The sums of all groups by name.
#[derive(Debug, Default)]
struct Favorites {
    names: Names,
    /// By group and number of the name.
    bought: HashMap<(u32, u32), Bought>,
    groups: usize,
}

impl Favorites {
    fn add(&mut self, group: usize, name: &str, more: Bought) -> Result<()> {
        let Ok(group) = u32::try_from(group) else { return exec_err!("favorite has too many groups") };
        let name = self.names.number(name)?;
        let bought = self.bought.entry((group, name)).or_insert(Bought { quantity: 0, last_at: i64::MIN });
        bought.quantity = bought.quantity.saturating_add(more.quantity);
        bought.last_at = bought.last_at.max(more.last_at);
        Ok(())
    }

    /// Takes the sums of the groups to emit, and how many groups those are; the others move up.
    fn take(&mut self, emit_to: EmitTo) -> (Vec<Sum>, usize) {
        match emit_to {
            // Not drained: a map that kept its room would still count as memory, and what asks for the sums because memory
            // is short would find none freed.
            EmitTo::All => (std::mem::take(&mut self.bought).into_iter().collect(), std::mem::take(&mut self.groups)),
            EmitTo::First(count) => {
                let first = u32::try_from(count).unwrap_or(u32::MAX);
                let mut taken = Vec::new();
                for ((group, name), bought) in std::mem::take(&mut self.bought) {
                    if group < first {
                        taken.push(((group, name), bought));
                    } else {
                        self.bought.insert((group - first, name), bought);
                    }
                }
                self.groups = self.groups.saturating_sub(count);
                (taken, count)
            }
        }
    }

    /// Whether `a` comes before `b` as a favorite.
    fn is_better(&self, a: (u32, Bought), b: (u32, Bought)) -> bool {
        let rank = |(_, bought): (u32, Bought)| (bought.quantity, bought.last_at);
        let text = |(name, _): (u32, Bought)| self.names.texts.get(name as usize);
        rank(a) > rank(b) || (rank(a) == rank(b) && text(a) < text(b))
    }
}

impl GroupsAccumulator for Favorites {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups = self.groups.max(total_num_groups);
        let [names, quantities, times] = values else { return exec_err!("favorite takes three arguments") };
        let names = names.as_string_view();
        let quantities = quantities.as_primitive::<Int64Type>();
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for (row, group) in group_indices.iter().enumerate() {
            let counts = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if counts && names.is_valid(row) {
                let quantity = if quantities.is_valid(row) { quantities.value(row) } else { 0 };
                let last_at = if times.is_valid(row) { times.value(row) } else { i64::MIN };
                self.add(*group, names.value(row), Bought { quantity, last_at })?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (taken, groups) = self.take(emit_to);
        let mut best: Vec<Option<(u32, Bought)>> = vec![None; groups];
        let mut different = vec![0_i64; groups];
        for ((group, name), bought) in taken {
            let group = group as usize;
            different[group] += 1;
            if best[group].is_none_or(|best| self.is_better((name, bought), best)) {
                best[group] = Some((name, bought));
            }
        }
        let mut favorites = StringViewBuilder::with_capacity(groups).with_deduplicate_strings();
        for best in best {
            favorites.append_option(best.and_then(|(name, _)| self.names.texts.get(name as usize)));
        }
        let columns: Vec<ArrayRef> = vec![Arc::new(favorites.finish()), Arc::new(Int64Array::from(different))];
        Ok(Arc::new(StructArray::try_new(result_fields(), columns, None)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (taken, groups) = self.take(emit_to);
        let mut lengths = vec![0_usize; groups];
        for ((group, _), _) in &taken {
            lengths[*group as usize] += 1;
        }
        let offsets = OffsetBuffer::<i32>::from_lengths(lengths.iter().copied());
        // Each group's place for its next element.
        let mut next: Vec<usize> = offsets.iter().map(|offset| usize::try_from(*offset).unwrap_or(0)).collect();
        let mut in_order = vec![0_usize; taken.len()];
        for (number, ((group, _), _)) in taken.iter().enumerate() {
            let place = &mut next[*group as usize];
            in_order[*place] = number;
            *place += 1;
        }
        let mut names = StringBuilder::with_capacity(taken.len(), 8 * taken.len());
        let mut quantities = Int64Builder::with_capacity(taken.len());
        let mut times = Int64Builder::with_capacity(taken.len());
        for number in in_order {
            let ((_, name), bought) = taken[number];
            names.append_option(self.names.texts.get(name as usize));
            quantities.append_value(bought.quantity);
            times.append_value(bought.last_at);
        }
        let list = |data_type: DataType, values: ArrayRef| -> Result<ArrayRef> {
            Ok(Arc::new(ListArray::try_new(element(data_type), offsets.clone(), values, None)?))
        };
        Ok(vec![
            list(DataType::Utf8, Arc::new(names.finish()))?,
            list(DataType::Int64, Arc::new(quantities.finish()))?,
            list(DataType::Int64, Arc::new(times.finish()))?,
        ])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups = self.groups.max(total_num_groups);
        let [names, quantities, times] = values else { return exec_err!("favorite has three lists as its state") };
        let (names, quantities, times) = (names.as_list::<i32>(), quantities.as_list::<i32>(), times.as_list::<i32>());
        let texts = names.values().as_string::<i32>();
        let numbers = quantities.values().as_primitive::<Int64Type>();
        let instants = times.values().as_primitive::<Int64Type>();
        for (row, group) in group_indices.iter().enumerate() {
            let range = |offsets: &[i32]| {
                let at = |place: usize| usize::try_from(offsets[place]).unwrap_or(0);
                at(row)..at(row + 1)
            };
            let more = range(quantities.value_offsets()).zip(range(times.value_offsets()));
            for (text, (number, instant)) in range(names.value_offsets()).zip(more) {
                let bought = Bought { quantity: numbers.value(number), last_at: instants.value(instant) };
                self.add(*group, texts.value(text), bought)?;
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, Array::len);
        let each: Vec<usize> = (0..rows).collect();
        let mut alone = Self::default();
        alone.update_batch(values, &each, filter, rows)?;
        alone.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.names.size() + self.bought.capacity() * (size_of::<((u32, u32), Bought)>() + 1)
    }
}

/// The sums of a single group.
#[derive(Debug)]
struct Alone(Favorites);

impl Accumulator for Alone {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, Array::len);
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.groups = 1;
        let value = GroupsAccumulator::evaluate(&mut self.0, EmitTo::All)?;
        ScalarValue::try_from_array(&value, 0)
    }

    fn size(&self) -> usize {
        GroupsAccumulator::size(&self.0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.groups = 1;
        let lists = GroupsAccumulator::state(&mut self.0, EmitTo::All)?;
        lists.iter().map(|list| ScalarValue::try_from_array(list, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, Array::len);
        self.0.merge_batch(states, &vec![0; rows], 1)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringViewArray, TimestampMicrosecondArray};

    use super::*;

    fn rows(names: &[Option<&str>], quantities: &[i64], times: &[i64]) -> Vec<ArrayRef> {
        vec![
            Arc::new(StringViewArray::from(names.to_vec())),
            Arc::new(Int64Array::from(quantities.to_vec())),
            Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC")),
        ]
    }

    fn shown(result: &ArrayRef) -> Vec<(Option<String>, i64)> {
        let fields = result.as_struct();
        let (names, different) = (fields.column(0).as_string_view(), fields.column(1).as_primitive::<Int64Type>());
        names.iter().map(|name| name.map(str::to_owned)).zip(different.values().iter().copied()).collect()
    }

    fn some(name: &str, different: i64) -> (Option<String>, i64) {
        (Some(name.to_owned()), different)
    }

    #[test]
    fn most_bought_then_latest_then_by_name() {
        let mut sums = Favorites::default();
        let names = [Some("b"), Some("a"), Some("a"), Some("y"), Some("x"), Some("q"), Some("p"), None];
        let values = rows(&names, &[3, 1, 1, 2, 2, 1, 1, 9], &[0, 0, 9, 5, 4, 7, 7, 9]);
        sums.update_batch(&values, &[0, 0, 0, 1, 1, 2, 2, 3], None, 4).unwrap();
        let result = sums.evaluate(EmitTo::All).unwrap();
        assert_eq!(shown(&result), [some("b", 2), some("y", 2), some("p", 2), (None, 0)]);
    }

    #[test]
    fn rows_that_the_filter_leaves_out_do_not_count() {
        let mut sums = Favorites::default();
        let filter = BooleanArray::from(vec![Some(false), None, Some(true)]);
        let values = rows(&[Some("a"), Some("b"), Some("c")], &[9, 9, 1], &[0, 0, 0]);
        sums.update_batch(&values, &[0, 0, 0], Some(&filter), 1).unwrap();
        assert_eq!(shown(&sums.evaluate(EmitTo::All).unwrap()), [some("c", 1)]);
    }

    #[test]
    fn states_merge_to_what_one_pass_gives() {
        let (mut one, mut two, mut whole) = (Favorites::default(), Favorites::default(), Favorites::default());
        let first = rows(&[Some("a"), Some("b"), Some("a")], &[1, 5, 1], &[1, 2, 3]);
        let second = rows(&[Some("b"), Some("c"), Some("a")], &[1, 4, 4], &[9, 9, 9]);
        one.update_batch(&first, &[0, 1, 1], None, 3).unwrap();
        two.update_batch(&second, &[0, 1, 1], None, 2).unwrap();
        whole.update_batch(&first, &[0, 1, 1], None, 3).unwrap();
        whole.update_batch(&second, &[0, 1, 1], None, 3).unwrap();
        let mut merged = Favorites::default();
        merged.merge_batch(&one.state(EmitTo::All).unwrap(), &[0, 1, 2], 3).unwrap();
        merged.merge_batch(&two.state(EmitTo::All).unwrap(), &[0, 1], 3).unwrap();
        let expected = shown(&whole.evaluate(EmitTo::All).unwrap());
        assert_eq!(expected, [some("b", 2), some("a", 3), (None, 0)]);
        assert_eq!(shown(&merged.evaluate(EmitTo::All).unwrap()), expected);
    }

    #[test]
    fn the_first_groups_can_leave_before_the_others() {
        let mut sums = Favorites::default();
        let values = rows(&[Some("a"), Some("b"), Some("c")], &[1, 1, 1], &[0, 0, 0]);
        sums.update_batch(&values, &[0, 1, 2], None, 3).unwrap();
        assert_eq!(shown(&sums.evaluate(EmitTo::First(2)).unwrap()), [some("a", 1), some("b", 1)]);
        sums.update_batch(&rows(&[Some("d")], &[2], &[0]), &[0], None, 1).unwrap();
        assert_eq!(shown(&sums.evaluate(EmitTo::All).unwrap()), [some("d", 2)]);
    }

    /// Who emits everything because memory is short has to find it freed.
    #[test]
    fn what_has_left_takes_no_memory() {
        let mut sums = Favorites::default();
        let groups: Vec<usize> = (0..10_000).collect();
        let values = rows(&vec![Some("a"); groups.len()], &vec![1; groups.len()], &vec![0; groups.len()]);
        sums.update_batch(&values, &groups, None, groups.len()).unwrap();
        let held = GroupsAccumulator::size(&sums);
        assert_eq!(sums.state(EmitTo::All).unwrap().len(), 3);
        let left = GroupsAccumulator::size(&sums);
        assert!(left * 100 < held, "{left} of {held} bytes");
    }
}
