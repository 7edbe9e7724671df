//! `alluvial query`.

use super::Outcome;
use super::opened::{Call, Opened};
use crate::snapshot::reading::Reading;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use futures::{Stream, StreamExt};

use super::output::Output;
use super::rows::RowWriter;
use crate::error::Result;

/// What `alluvial query` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The statement, which can only read
    #[arg(value_name = "SQL")]
    pub sql: String,
}

/// Prints the batches as they come.
///
/// # Errors
/// As [`Output::write`], and the stream's own.
pub async fn print<S, E>(schema: &Schema, batches: S, output: &mut Output<'_>) -> Result<()>
where
    S: Stream<Item = Result<RecordBatch, E>>,
    crate::error::Error: From<E>,
{
    let mut batches = std::pin::pin!(batches);
    let mut writer = RowWriter::begin_schema(output, schema)?;
    while let Some(batch) = batches.next().await {
        writer.batch(&batch?)?;
    }
    writer.finish()
}

/// Answers a query over what is published and, where it names `landed.…`, over the landed tables.
///
/// # Errors
/// What DataFusion says of the query; statements that would change something.
pub fn execute(args: &Args, call: &Call<'_>, output: &mut Output<'_>) -> Result<Outcome> {
    call.run(output, async |settings, output| {
        let opened = Opened::new(settings, call.environment, false).await?;
        let reading = Box::pin(Reading::open(&opened.project)).await?;
        if args.sql.to_lowercase().contains("landed.") {
            let options = opened.project.landing(opened.yesterday(), opened.clock.now());
            reading.with_landed(&opened.project, &options).await?;
        }
        if reading.reads_rows(&args.sql)? {
            reading.with_rows(&opened.project, opened.clock.now()).await?;
        }
        let frame = reading.sql(&args.sql).await?;
        let schema = frame.schema().as_arrow().clone();
        print(&schema, frame.execute_stream().await?, output).await?;
        Ok(Outcome::Done)
    })
}
