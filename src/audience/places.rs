//! The members of an audience by number: each has a place in the order of their ids, as dense numbers from 0.
//!
//! What the newest landed data says of a member is found by looking a record's person up, and put in order by the place
//! (`engine::Placing`): neither a join nor a sort ever holds contact data in memory.

use std::hash::BuildHasher;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringViewArray, StringViewBuilder, UInt32Array,
};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use datafusion::common::exec_err;
use datafusion::datasource::MemTable;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::{DataFrame, SessionContext};
use futures::StreamExt;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use roaring::RoaringBitmap;

use crate::engine::statement::{Params, plan_text};
use crate::error::{Error, Result};

/// The members, and whom the newest landed data takes them for.
pub(super) struct Places {
    /// Sorted, each once.
    ids: StringViewArray,
    /// Of each member the segment, whose id is the salt of the holdout.
    segments: StringViewArray,
    hasher: DefaultHashBuilder,
    by_id: HashTable<u32>,
    /// The place by person, where the person is known under another id than the member's.
    moved: HashMap<String, u32>,
    /// Places whose person has another place already, and the person.
    twins: Vec<(u32, String)>,
}

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Places").field("members", &self.ids.len()).finish_non_exhaustive()
    }
}

impl Places {
    /// Numbers the rows of `members` (customer_id, segment), of which none has another's id.
    ///
    /// # Errors
    /// What the query says.
    pub(super) async fn of(members: DataFrame) -> Result<Self> {
        let sorted = members.sort_by(vec![datafusion::prelude::col("customer_id")])?;
        let mut rows = sorted.select_columns(&["customer_id", "segment"])?.execute_stream().await?;
        let (mut ids, mut segments) = (StringViewBuilder::new(), StringViewBuilder::new().with_deduplicate_strings());
        while let Some(batch) = rows.next().await.transpose()? {
            ids.append_array(cast(batch.column(0), &DataType::Utf8View)?.as_string_view());
            for segment in cast(batch.column(1), &DataType::Utf8View)?.as_string_view() {
                segments.append_option(segment);
            }
        }
        let (ids, segments) = (ids.finish().gc(), segments.finish());
        if u32::try_from(ids.len()).is_err() {
            return Err(Error::internal("audience.members", "an audience has at most four billion members"));
        }
        let hasher = DefaultHashBuilder::default();
        let mut by_id = HashTable::with_capacity(ids.len());
        for (place, id) in (0_u32..).zip(&ids) {
            let hash = |id: &str| hasher.hash_one(id);
            by_id.insert_unique(hash(id.unwrap_or_default()), place, |place| hash(ids.value(*place as usize)));
        }
        Ok(Self { ids, segments, hasher, by_id, moved: HashMap::new(), twins: Vec::new() })
    }

    /// Learns from the session's `roots` (id, root) who of the members is known under another id now.
    ///
    /// # Errors
    /// What the query says.
    pub(super) async fn follow(&mut self, session: &SessionContext) -> Result<()> {
        let mut rows = plan_text(session, "SELECT id, root FROM roots", &Params::new()).await?.execute_stream().await?;
        let mut found: Vec<(u32, String)> = Vec::new();
        while let Some(batch) = rows.next().await.transpose()? {
            let (ids, roots) =
                (cast(batch.column(0), &DataType::Utf8View)?, cast(batch.column(1), &DataType::Utf8View)?);
            for (id, root) in ids.as_string_view().iter().zip(roots.as_string_view()) {
                let (Some(id), Some(root)) = (id, root) else { continue };
                if let Some(place) = self.of_id(id).filter(|_| id != root) {
                    found.push((place, root.to_owned()));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        for (place, root) in found {
            if self.of_person(&root).is_some() {
                self.twins.push((place, root));
            } else {
                self.moved.insert(root, place);
            }
        }
        Ok(())
    }

    /// How many members there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }

    fn of_id(&self, id: &str) -> Option<u32> {
        self.by_id.find(self.hasher.hash_one(id), |place| self.ids.value(*place as usize) == id).copied()
    }

    fn of_person(&self, person: &str) -> Option<u32> {
        self.of_id(person).or_else(|| self.moved.get(person).copied())
    }

    /// Whether two members are one person now.
    pub(super) fn has_twins(&self) -> bool {
        !self.twins.is_empty()
    }

    /// Gives the session `twins` (place, person): the members who are a person that has a place already.
    ///
    /// # Errors
    /// What the session says.
    pub(super) fn register_twins(&self, session: &SessionContext) -> Result<()> {
        let places = UInt32Array::from_iter_values(self.twins.iter().map(|(place, _)| *place));
        let persons: StringViewArray = self.twins.iter().map(|(_, person)| Some(person)).collect();
        register(session, "twins", "person", places, Arc::new(persons))
    }

    /// Gives the session `rest` (place, customer_id): the members of some places.
    ///
    /// # Errors
    /// What the session says.
    pub(super) fn register_rest(&self, session: &SessionContext, rest: &RoaringBitmap) -> Result<()> {
        let places = UInt32Array::from_iter_values(rest);
        let ids = take(&self.ids, &places, None)?;
        register(session, "rest", "customer_id", places, ids)
    }

    /// Gives the session the functions `member_place(person)`, `place_of_id(customer_id)`, `member_id(place)` and
    /// `member_segment(place)`, null where there is no such member.
    pub(super) fn register_functions(self: &Arc<Self>, session: &SessionContext) {
        for what in [Asked::Place, Asked::OwnPlace, Asked::Id, Asked::Segment] {
            session.register_udf(ScalarUDF::new_from_impl(MemberFunction::new(Arc::clone(self), what)));
        }
    }
}

fn register(session: &SessionContext, table: &str, column: &str, places: UInt32Array, texts: ArrayRef) -> Result<()> {
    let fields = vec![Field::new("place", DataType::UInt32, true), Field::new(column, DataType::Utf8View, true)];
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(places), texts])?;
    session.register_table(table, Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Asked {
    Place,
    OwnPlace,
    Id,
    Segment,
}

impl Asked {
    fn is_place(self) -> bool {
        matches!(self, Self::Place | Self::OwnPlace)
    }
}

#[derive(Debug)]
struct MemberFunction {
    places: Arc<Places>,
    asked: Asked,
    signature: Signature,
}

impl MemberFunction {
    fn new(places: Arc<Places>, asked: Asked) -> Self {
        // What is volatile is computed once: a place that a filter asks for must not be looked up again by the filter.
        let volatility = if asked.is_place() { Volatility::Volatile } else { Volatility::Immutable };
        Self { places, asked, signature: Signature::new(TypeSignature::Any(1), volatility) }
    }
}

impl PartialEq for MemberFunction {
    fn eq(&self, other: &Self) -> bool {
        self.asked == other.asked && Arc::ptr_eq(&self.places, &other.places)
    }
}

impl Eq for MemberFunction {}

impl std::hash::Hash for MemberFunction {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.asked.hash(state);
    }
}

impl ScalarUDFImpl for MemberFunction {
    fn name(&self) -> &str {
        match self.asked {
            Asked::Place => "member_place",
            Asked::OwnPlace => "place_of_id",
            Asked::Id => "member_id",
            Asked::Segment => "member_segment",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(if self.asked.is_place() { DataType::UInt32 } else { DataType::Utf8View })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let Some(given) = arguments.args.first() else { return exec_err!("`{}` lacks an argument", self.name()) };
        let given = given.to_array(arguments.number_rows)?;
        let answer: ArrayRef = match self.asked {
            Asked::Place => {
                let persons = cast(&given, &DataType::Utf8View)?;
                let places = persons.as_string_view().iter().map(|person| self.places.of_person(person?));
                Arc::new(places.collect::<UInt32Array>())
            }
            Asked::OwnPlace => {
                let ids = cast(&given, &DataType::Utf8View)?;
                let places = ids.as_string_view().iter().map(|id| self.places.of_id(id?));
                Arc::new(places.collect::<UInt32Array>())
            }
            Asked::Id => take(&self.places.ids, given.as_primitive::<UInt32Type>(), None)?,
            Asked::Segment => take(&self.places.segments, given.as_primitive::<UInt32Type>(), None)?,
        };
        Ok(ColumnarValue::Array(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn places(session: &SessionContext, members: &str, roots: &str) -> Places {
        let sql = format!("SELECT column1 AS customer_id, column2 AS segment FROM (VALUES {members})");
        let mut places = Places::of(session.sql(&sql).await.unwrap()).await.unwrap();
        let sql = format!("SELECT column1 AS id, column2 AS root FROM (VALUES {roots})");
        session.register_table("roots", session.sql(&sql).await.unwrap().into_view()).unwrap();
        places.follow(session).await.unwrap();
        places
    }

    #[tokio::test]
    async fn a_person_is_found_under_the_id_that_goes_on() {
        let limits = crate::engine::Limits { memory: 1 << 30, threads: 2, spill: None };
        let session = crate::engine::Engine::new(limits, Vec::new(), None).unwrap().session();
        let members = "('d', 's'), ('a', 's'), ('c', 't'), ('a long id that no view holds', 't')";
        // `a` is `z` now, who is no member; `c` is `d`, who is one; `v` is nobody's.
        let places = Arc::new(places(&session, members, "('a', 'z'), ('c', 'd'), ('v', 'w'), ('d', 'd')").await);
        assert_eq!(places.count(), 4);
        let found = ["z", "a", "d", "w", "a long id that no view holds"].map(|person| places.of_person(person));
        assert_eq!(found, [Some(0), Some(0), Some(3), None, Some(1)]);
        assert!(places.has_twins());
        assert_eq!(places.twins, [(2, "d".to_owned())]);

        places.register_functions(&session);
        places.register_rest(&session, &RoaringBitmap::from([1, 2])).unwrap();
        let sql = "SELECT concat_ws(' ', customer_id, member_id(place), member_segment(place), member_place(customer_id), place_of_id('z')) \
                   FROM rest ORDER BY place";
        let rows = session.sql(sql).await.unwrap().collect().await.unwrap();
        let told: Vec<&str> = rows[0].column(0).as_string_view().iter().flatten().collect();
        let long = "a long id that no view holds";
        assert_eq!(told, [format!("{long} {long} t 1"), "c c t 2".to_owned()]);
    }
}
