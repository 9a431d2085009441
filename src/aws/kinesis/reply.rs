//! An answer of GetRecords on its way to the model: its body is decoded here, past the SDK's parser.
//!
//! Owns which answers are decoded by whom. Signing, endpoints, errors and all that is no plain answer stay the
//! SDK's; what our decoder does not know is read by the SDK's parser from the same bytes, and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kinesis::operation::get_records::{GetRecords, GetRecordsOutput};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, Error, Output,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_schema::protocol::SharedClientProtocol;
use aws_smithy_types::config_bag::ConfigBag;

use decode::{Decoded, NotRead, decode};

pub mod decode;

/// The answer to one call; a clone goes into the call as its interceptor.
#[derive(Clone, Debug)]
pub(super) struct RawReply {
    decoded: Arc<Mutex<Option<Decoded>>>,
    unusual: Unusual,
}

/// How many answers had a shape that our decoder does not know.
#[derive(Clone, Debug, Default)]
pub(super) struct Unusual(Arc<AtomicU64>);

impl Unusual {
    fn count(&self, at: usize) {
        let count = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // Told at the 1st, 10th, 100th …: a service that always answers so must not fill the log.
        if count == 10_u64.pow(count.ilog10()) {
            tracing::info!(
                count,
                at,
                "an answer of GetRecords has an unusual shape: the SDK's parser reads it"
            );
        }
    }

    /// How many so far.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl RawReply {
    /// Nothing answered yet.
    pub(super) fn new(unusual: &Unusual) -> Self {
        Self { decoded: Arc::default(), unusual: unusual.clone() }
    }

    /// What our decoder read, once the call is over; `None` if the SDK's output is the answer.
    pub(super) fn take(&self) -> Option<Decoded> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for RawReply {
    fn name(&self) -> &'static str {
        "RawReply"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_success() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl DeserializeResponse for RawReply {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        config: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let body = response.body().bytes().unwrap_or_default();
        match decode(body) {
            Ok(decoded) => {
                *self.decoded.lock().unwrap_or_else(PoisonError::into_inner) = Some(decoded);
                let nothing = GetRecordsOutput::builder().set_records(Some(Vec::new())).build();
                return nothing.map(Output::erase).map_err(OrchestratorError::other);
            }
            Err(NotRead::Odd { at }) => self.unusual.count(at),
            Err(NotRead::Children) => {}
        }
        let protocol = config
            .load::<SharedClientProtocol>()
            .ok_or_else(|| OrchestratorError::other("the SDK has no protocol to read the answer by"))?;
        let mut reader = protocol
            .deserialize_response(response, GetRecords::OUTPUT_SCHEMA, config)
            .map_err(|cause| OrchestratorError::other(BoxError::from(cause)))?;
        let output = GetRecordsOutput::deserialize(&mut *reader);
        output.map(Output::erase).map_err(|cause| OrchestratorError::other(BoxError::from(cause)))
    }
}

#[cfg(test)]
mod tests;
