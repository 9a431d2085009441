//! The body of a PutRecords, written by hand.
//!
//! The SDK copies every payload, encodes it byte by byte and allocates for each: most of the time that a
//! producer takes. Signing, endpoints, retries and errors stay the SDK's; a test holds that both write the same.

use std::sync::{Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use base64_simd::STANDARD;

use crate::ports::put::Record;

/// What JSON and the names need around a record.
const AROUND: usize = 96;

/// Takes the place of the SDK's body before the call is signed. For one try: the body is handed over.
#[derive(Debug)]
pub(super) struct HandWritten(Mutex<Option<Vec<u8>>>);

impl HandWritten {
    pub(super) const fn new(body: Vec<u8>) -> Self {
        Self(Mutex::new(Some(body)))
    }
}

#[dyn_dispatch_hint]
impl Intercept for HandWritten {
    fn name(&self) -> &'static str {
        "HandWritten"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let body = body.ok_or("the request is tried a second time, which it must not be")?;
        let request = context.request_mut();
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        Ok(())
    }
}

/// The JSON that PutRecords wants.
pub(super) fn write_body(name: Option<&str>, arn: Option<&str>, records: &[&Record]) -> Vec<u8> {
    let size = |record: &&Record| record.data.len().div_ceil(3) * 4 + record.partition_key.len() + AROUND;
    let mut out = Vec::with_capacity(records.iter().map(size).sum::<usize>() + 256);
    out.extend_from_slice(b"{\"Records\":[");
    for (index, record) in records.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"Data\":\"" } else { b"{\"Data\":\"" });
        STANDARD.encode_append(&record.data, &mut out);
        out.push(b'"');
        if let Some(key) = record.explicit_hash_key {
            out.extend_from_slice(b",\"ExplicitHashKey\":\"");
            out.extend_from_slice(itoa::Buffer::new().format(key).as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b",\"PartitionKey\":");
        write_text(&mut out, &record.partition_key);
        out.push(b'}');
    }
    out.push(b']');
    for (field, value) in [("StreamARN", arn), ("StreamName", name)] {
        if let Some(value) = value {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(field.as_bytes());
            out.extend_from_slice(b"\":");
            write_text(&mut out, value);
        }
    }
    out.push(b'}');
    out
}

/// A JSON string.
fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}
