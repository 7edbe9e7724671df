//! Plans that answer calls, sent elsewhere: functions travel with what they carry.

use std::sync::Arc;

use datafusion::common::{exec_datafusion_err, not_impl_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};

use super::SegmentCalls;
use super::kinds::OfKind;
use super::products::OfProduct;

/// Encodes and decodes the physical plans of a night's passes.
#[derive(Debug)]
pub struct Wire;

impl PhysicalExtensionCodec for Wire {
    fn try_decode(
        &self,
        _bytes: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        _context: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("a night's plans have no operators of their own")
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        _bytes: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        not_impl_err!("{} cannot be sent elsewhere", node.name())
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        let function = if OfProduct::is(name) { OfProduct::read(name, bytes) } else { OfKind::read(name, bytes) };
        Ok(Arc::new(function?))
    }

    fn try_encode_udf(&self, function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        let inner: &dyn std::any::Any = &**function.inner();
        let of_product = inner.downcast_ref::<OfProduct>().map(|function| function.write(bytes));
        of_product.or_else(|| inner.downcast_ref::<OfKind>().map(|function| function.write(bytes))).unwrap_or(Ok(()))
    }

    fn try_decode_udaf(&self, name: &str, bytes: &[u8]) -> Result<Arc<AggregateUDF>> {
        let program = serde_json::from_slice(bytes)
            .map_err(|error| exec_datafusion_err!("`{name}` came without its program: {error}"))?;
        Ok(Arc::new(SegmentCalls::new(name, program).into_function()))
    }

    fn try_encode_udaf(&self, function: &AggregateUDF, bytes: &mut Vec<u8>) -> Result<()> {
        let inner: &dyn std::any::Any = &**function.inner();
        if let Some(calls) = inner.downcast_ref::<SegmentCalls>() {
            serde_json::to_writer(bytes, calls.program())
                .map_err(|error| exec_datafusion_err!("`{}` cannot be sent: {error}", function.name()))?;
        }
        Ok(())
    }
}
