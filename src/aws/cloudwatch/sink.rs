//! The numbers as CloudWatch gets them: dimensions `Stream`, and `Shard` where they are told apart.

use std::sync::Arc;

use super::{CloudWatch, Datum, DatumValue, Unit};
use crate::model::metric::{self, Number, Shape, Value};
use crate::ports::{Clock, MetricSink, PushError};
use crate::stop::Stop;

/// So many numbers always fit one call, so it is known which of them were taken.
const LOT: usize = 500;

/// Puts the numbers of one stream into one namespace.
pub struct CloudWatchSink {
    cloudwatch: CloudWatch,
    clock: Arc<dyn Clock>,
    namespace: String,
    stream: String,
}

impl CloudWatchSink {
    /// `namespace` as configured; `stream` is the dimension of every number.
    pub const fn new(
        cloudwatch: CloudWatch,
        clock: Arc<dyn Clock>,
        namespace: String,
        stream: String,
    ) -> Self {
        Self { cloudwatch, clock, namespace, stream }
    }

    fn datum(&self, number: &Number) -> Datum {
        let mut dimensions = vec![("Stream", self.stream.clone())];
        if let Some(shard) = &number.shard {
            dimensions.push(("Shard", shard.as_str().to_owned()));
        }
        Datum {
            name: number.cloudwatch,
            dimensions,
            value: match &number.value {
                Value::Delta(more) => DatumValue::Single(*more as f64),
                Value::Gauge(value) => DatumValue::Single(*value),
                Value::Distribution(seen) => {
                    let (values, counts) = seen.iter().map(|(value, count)| (*value, *count as f64)).unzip();
                    DatumValue::Distribution { values, counts }
                }
            },
            unit: match number.unit {
                metric::Unit::Count => Unit::Count,
                metric::Unit::Bytes => Unit::Bytes,
                metric::Unit::Milliseconds => Unit::Milliseconds,
                metric::Unit::Seconds => Unit::Seconds,
                metric::Unit::Ratio => Unit::None,
            },
            at: self.clock.now(),
        }
    }
}

impl MetricSink for CloudWatchSink {
    fn name(&self) -> &'static str {
        "cloudwatch"
    }

    fn shape(&self) -> Shape {
        Shape::DIMENSIONS
    }

    fn push(&self, numbers: &[Number], stop: &Stop) -> Result<(), PushError> {
        for (lot, some) in numbers.chunks(LOT).enumerate() {
            let datums = some.iter().map(|number| self.datum(number)).collect();
            self.cloudwatch.put(&self.namespace, datums, stop).map_err(|message| PushError {
                kind: "put",
                taken: lot * LOT,
                message,
            })?;
        }
        Ok(())
    }
}
