//! The service's own time: the `Date` header of the last answer to a call, good or bad.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

use crate::model::timestamp::Timestamp;

/// No answer, or none with a readable date.
const UNKNOWN: i64 = i64::MIN;

/// Catches the date of the answers of one call; a clone goes into the call as its interceptor.
#[derive(Clone, Debug)]
pub(super) struct AnswerDate(Arc<AtomicI64>);

impl AnswerDate {
    /// Nothing answered yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(UNKNOWN)))
    }

    /// The service's clock when it answered last, in whole seconds.
    pub(super) fn get(&self) -> Option<Timestamp> {
        known(self.0.load(Ordering::Acquire))
    }

    /// The same, and forgets it: the next call's answer is told apart.
    pub(super) fn take(&self) -> Option<Timestamp> {
        known(self.0.swap(UNKNOWN, Ordering::AcqRel))
    }
}

const fn known(seconds: i64) -> Option<Timestamp> {
    match seconds {
        UNKNOWN => None,
        seconds => Some(Timestamp::from_seconds(seconds)),
    }
}

#[dyn_dispatch_hint]
impl Intercept for AnswerDate {
    fn name(&self) -> &'static str {
        "AnswerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let seconds = context.response().headers().get("date").and_then(parse_date);
        self.0.store(seconds.unwrap_or(UNKNOWN), Ordering::Release);
        Ok(())
    }
}

/// Seconds since the epoch of an IMF-fixdate such as `Mon, 16 Dec 2019 23:48:18 GMT`.
fn parse_date(text: &str) -> Option<i64> {
    DateTime::from_str(text, Format::HttpDate).ok().map(|date| date.secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_http_writes_them() {
        assert_eq!(parse_date("Mon, 16 Dec 2019 23:48:18 GMT"), Some(1_576_540_098));
        assert_eq!(parse_date("yesterday"), None);
    }
}
