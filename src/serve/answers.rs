//! Answers that were given: dashboards ask the same of the same day over and over, and a published day never changes.
//!
//! An answer is given again where the plan is the same over the very same tables, not over tables of the same names: another
//! state, another role and another pinned day each have tables of their own. What depends on anything else, such as the time
//! or the session, is computed every time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use super::segment::SegmentTable;
use crate::lake::provider::DayTable;

/// Bytes of an answer that is kept: more is a download, which nobody repeats by the minute.
const MOST_OF_ONE: usize = 1 << 20;
/// Bytes of all answers that are kept.
const MOST_OF_ALL: usize = 32 << 20;

/// What is asked, where plan and tables alone settle the answer.
pub(super) struct Question {
    hash: u64,
    zone: Option<String>,
    plan: LogicalPlan,
    tables: Vec<Arc<dyn TableProvider>>,
}

impl Question {
    /// The question that a plan is, in a session that reads times in `zone`; none where something else has a say in the
    /// answer.
    pub(super) fn of(plan: &LogicalPlan, zone: Option<&str>) -> Option<Self> {
        let mut tables = Vec::new();
        let mut settled = true;
        let walked = plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::TableScan(scan) => {
                    let table = source_as_provider(&scan.source)?;
                    settled &= table.is::<DayTable>() || table.is::<SegmentTable>();
                    tables.push(table);
                }
                LogicalPlan::Explain(_)
                | LogicalPlan::Analyze(_)
                | LogicalPlan::Extension(_)
                | LogicalPlan::Statement(_)
                | LogicalPlan::Dml(_)
                | LogicalPlan::Ddl(_)
                | LogicalPlan::Copy(_)
                | LogicalPlan::DescribeTable(_) => settled = false,
                _ => {}
            }
            node.apply_expressions(|expression| expression.apply(|part| settles(part, &mut settled)))?;
            Ok(if settled { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        if walked.is_err() || !settled || tables.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (plan, zone).hash(&mut hasher);
        Some(Self { hash: hasher.finish(), zone: zone.map(str::to_owned), plan: plan.clone(), tables })
    }

    fn is(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<dyn TableProvider>, &Arc<dyn TableProvider>)| Arc::ptr_eq(one, other);
        self.zone == other.zone
            && self.plan == other.plan
            && self.tables.len() == other.tables.len()
            && self.tables.iter().zip(&other.tables).all(same)
    }
}

/// Whether an expression has the same value whenever and by whomever it is asked.
fn settles(expression: &Expr, settled: &mut bool) -> DfResult<TreeNodeRecursion> {
    *settled &= match expression {
        Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        Expr::AggregateFunction(call) => call.func.signature().volatility == Volatility::Immutable,
        Expr::Placeholder(_) | Expr::ScalarVariable(..) => false,
        _ => true,
    };
    Ok(if *settled { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
}

/// An answer in the making.
pub(super) struct Making {
    question: Question,
    batches: Vec<RecordBatch>,
    bytes: usize,
}

impl Making {
    pub(super) fn new(question: Question) -> Self {
        Self { question, batches: Vec::new(), bytes: 0 }
    }

    /// Adds rows; none comes back once they are too many to be kept.
    pub(super) fn with(mut self, batch: &RecordBatch) -> Option<Self> {
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch.clone());
        (self.bytes <= MOST_OF_ONE).then_some(self)
    }
}

/// An answer.
#[derive(Clone)]
pub(super) struct Known {
    /// Its columns.
    pub(super) schema: SchemaRef,
    /// Its rows.
    pub(super) batches: Vec<RecordBatch>,
}

struct Entry {
    question: Question,
    answer: Known,
    bytes: usize,
    used: u64,
}

/// The answers of a server.
#[derive(Default)]
pub(super) struct Answers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_hash: HashMap<u64, Entry>,
    bytes: usize,
    now: u64,
}

impl Answers {
    /// The answer, if it was given before.
    pub(super) fn find(&self, question: &Question) -> Option<Known> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.now += 1;
        let now = kept.now;
        let entry = kept.by_hash.get_mut(&question.hash).filter(|entry| entry.question.is(question))?;
        entry.used = now;
        Some(entry.answer.clone())
    }

    /// Keeps an answer that was given to its end. The ones that were not asked for the longest make room.
    pub(super) fn keep(&self, made: Making, schema: SchemaRef) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.now += 1;
        let (hash, bytes) = (made.question.hash, made.bytes.max(1 << 10));
        let answer = Known { schema, batches: made.batches };
        let entry = Entry { question: made.question, answer, bytes, used: kept.now };
        if let Some(before) = kept.by_hash.insert(hash, entry) {
            kept.bytes -= before.bytes;
        }
        kept.bytes += bytes;
        while kept.bytes > MOST_OF_ALL {
            let Some(oldest) = kept.by_hash.iter().min_by_key(|(_, entry)| entry.used).map(|(hash, _)| *hash) else {
                return;
            };
            if let Some(gone) = kept.by_hash.remove(&oldest) {
                kept.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use datafusion::logical_expr::{ScalarUDF, ScalarUDFImpl, Signature};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::engine::{Engine, Limits};
    use crate::lake::Lake;
    use crate::schema::published::named;

    /// A session with a table of a published day, another one on each call.
    fn session() -> SessionContext {
        let limits = Limits { memory: 1 << 30, threads: 2, spill: None };
        let session = Engine::new(limits, Vec::new(), None).unwrap().session();
        let lake = Lake::open("memory://shop", &std::collections::BTreeMap::new(), std::path::Path::new("/")).unwrap();
        let table = DayTable::over(&lake, &named("segment_sizes").unwrap(), &[]).unwrap();
        session.register_table("segment_sizes", Arc::new(table)).unwrap();
        let one = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1])) as _)]).unwrap();
        session.register_batch("elsewhere", one).unwrap();
        session
    }

    async fn question(session: &SessionContext, sql: &str) -> Option<Question> {
        let plan = session.state().create_logical_plan(sql).await.unwrap();
        Question::of(&plan, None)
    }

    fn answer(rows: usize) -> (RecordBatch, SchemaRef) {
        let column = Arc::new(Int64Array::from(vec![7; rows])) as _;
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        (batch.clone(), batch.schema())
    }

    const SIZES: &str = "SELECT segment, members FROM segment_sizes ORDER BY 1";

    #[tokio::test]
    async fn the_same_question_of_the_same_tables_is_known() {
        let (session, answers) = (session(), Answers::default());
        let asked = async |sql: &str| question(&session, sql).await.unwrap();
        assert!(answers.find(&asked(SIZES).await).is_none());
        let (batch, schema) = answer(3);
        answers.keep(Making::new(asked(SIZES).await).with(&batch).unwrap(), schema);
        assert_eq!(answers.find(&asked(SIZES).await).unwrap().batches, [batch]);
        assert!(answers.find(&asked("SELECT segment, members FROM segment_sizes ORDER BY 2").await).is_none());
        let elsewhere = question(&self::session(), SIZES).await.unwrap();
        assert!(answers.find(&elsewhere).is_none(), "a table of the same name is another table");
        let plan = session.state().create_logical_plan(SIZES).await.unwrap();
        let zoned = Question::of(&plan, Some("Asia/Tokyo")).unwrap();
        assert!(answers.find(&zoned).is_none(), "a session of another zone asks something else");
    }

    /// A function whose answer depends on who asks.
    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Asker(Signature);

    impl ScalarUDFImpl for Asker {
        fn name(&self) -> &'static str {
            "asker"
        }

        fn signature(&self) -> &Signature {
            &self.0
        }

        fn return_type(&self, _: &[arrow::datatypes::DataType]) -> DfResult<arrow::datatypes::DataType> {
            Ok(arrow::datatypes::DataType::Boolean)
        }

        fn invoke_with_args(
            &self,
            _: datafusion::logical_expr::ScalarFunctionArgs,
        ) -> DfResult<datafusion::logical_expr::ColumnarValue> {
            datafusion::common::exec_err!("nobody runs it")
        }
    }

    #[tokio::test]
    async fn what_the_tables_do_not_settle_is_computed_every_time() {
        let session = session();
        session.register_udf(ScalarUDF::new_from_impl(Asker(Signature::nullary(Volatility::Stable))));
        assert!(question(&session, SIZES).await.is_some());
        for sql in [
            "SELECT * FROM elsewhere",
            "SELECT * FROM segment_sizes WHERE members > (SELECT max(a) FROM elsewhere)",
            "SELECT now(), segment FROM segment_sizes",
            "SELECT segment FROM segment_sizes WHERE random() < 0.5",
            "SELECT segment FROM segment_sizes WHERE asker()",
            "SELECT segment FROM segment_sizes WHERE members = (SELECT max(members) FROM segment_sizes WHERE asker())",
            "EXPLAIN SELECT segment FROM segment_sizes",
            "SELECT segment FROM segment_sizes WHERE members = $1",
            "SELECT 1",
        ] {
            assert!(question(&session, sql).await.is_none(), "{sql}");
        }
    }

    #[tokio::test]
    async fn answers_make_room_for_each_other() {
        let (session, answers) = (session(), Answers::default());
        let asked = async |n: usize| question(&session, &format!("SELECT {n} FROM segment_sizes")).await.unwrap();
        let (large, schema) = answer(MOST_OF_ONE / 8);
        assert!(Making::new(asked(0).await).with(&large).is_none(), "what is too large is not kept");
        let (batch, _) = answer(MOST_OF_ONE / 16);
        let fit = MOST_OF_ALL / batch.get_array_memory_size();
        for n in 0..=fit {
            // The first one is asked all the time.
            let _known = answers.find(&asked(0).await);
            answers.keep(Making::new(asked(n).await).with(&batch).unwrap(), Arc::clone(&schema));
        }
        assert!(answers.find(&asked(0).await).is_some());
        assert!(answers.find(&asked(1).await).is_none());
        assert!(answers.find(&asked(fit).await).is_some());
    }
}
