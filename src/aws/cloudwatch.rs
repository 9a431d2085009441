//! Numbers, put through the CloudWatch API.
//!
//! Owns what CloudWatch accepts and how much of it in one call. Which numbers there are is the
//! metrics' business.

mod sink;

use std::time::Duration;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_sdk_cloudwatch::{Client, config};
use aws_smithy_types::DateTime;
use aws_smithy_types::timeout::TimeoutConfig;

pub use sink::CloudWatchSink;

use super::blocking::{Blocking, Until};
use super::clients::Clients;
use super::errors::Refusal;
use crate::model::timestamp::Timestamp;
use crate::stop::Stop;

/// Up to a megabyte, compressed by the SDK, with its three tries.
const PUT_DEADLINE: Duration = Duration::from_secs(15);

/// What one call takes, in datums …
const MOST_DATUMS: usize = 1000;

/// … and, with room for what the encoding adds, in bytes of a megabyte.
const MOST_BYTES: usize = 700_000;

/// Distinct values in one datum.
const MOST_VALUES: usize = 150;

/// Characters of a dimension's value.
const MOST_DIMENSION: usize = 1024;

/// Dimensions of one datum.
const MOST_DIMENSIONS: usize = 30;

/// One number, or a distribution of numbers, of a minute.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// The metric.
    pub name: &'static str,
    /// Dimensions, in order.
    pub dimensions: Vec<(&'static str, String)>,
    /// What was measured.
    pub value: DatumValue,
    /// Its unit.
    pub unit: Unit,
    /// When.
    pub at: Timestamp,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum DatumValue {
    /// One number.
    Single(f64),
    /// Values and how often each came; of the same length.
    Distribution {
        /// Distinct values.
        values: Vec<f64>,
        /// How often each came.
        counts: Vec<f64>,
    },
}

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// A ratio: no unit.
    None,
}

/// Puts numbers.
pub struct CloudWatch {
    client: Client,
    blocking: Blocking,
}

impl CloudWatch {
    /// Connects to nothing yet.
    pub fn new(clients: &Clients, blocking: Blocking) -> Self {
        Self { client: clients.cloudwatch(), blocking }
    }

    /// Puts what is finite, in as many calls as it takes; stops at the first that fails. After an
    /// error some may be stored: put again, their sums would count twice.
    pub fn put(&self, namespace: &str, datums: Vec<Datum>, stop: &Stop) -> Result<(), String> {
        for datums in calls(datums.into_iter().flat_map(accepted)) {
            let limits = TimeoutConfig::builder().operation_timeout(PUT_DEADLINE);
            let limits = config::Config::builder().timeout_config(limits.build());
            let request = self.client.put_metric_data().namespace(namespace).set_metric_data(Some(datums));
            let sending = request.customize().config_override(limits).send();
            let refusal = match self.blocking.run(PUT_DEADLINE, stop, Until::Abandoned, sending) {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => Refusal::of(&error),
                Err(cut) => Refusal::cut(cut),
            };
            return Err(format!("PutMetricData failed: {}", refusal.advice("cloudwatch:PutMetricData")));
        }
        Ok(())
    }
}

/// Groups datums into calls that CloudWatch takes.
fn calls(datums: impl Iterator<Item = MetricDatum>) -> Vec<Vec<MetricDatum>> {
    let mut calls: Vec<Vec<MetricDatum>> = Vec::new();
    let mut bytes = 0;
    for datum in datums {
        let more = size(&datum);
        match calls.last_mut() {
            Some(call) if call.len() < MOST_DATUMS && bytes + more <= MOST_BYTES => {
                call.push(datum);
                bytes += more;
            }
            _ => {
                calls.push(vec![datum]);
                bytes = more;
            }
        }
    }
    calls
}

/// About what a datum takes in a request.
fn size(datum: &MetricDatum) -> usize {
    let dimensions = datum.dimensions.iter().flatten();
    let text = |part: &Option<String>| part.as_ref().map_or(0, String::len) + 40;
    let names: usize = dimensions.map(|dimension| text(&dimension.name) + text(&dimension.value)).sum();
    200 + names + 40 * datum.values.as_ref().map_or(0, Vec::len)
}

/// As CloudWatch accepts it: one bad datum fails the whole call, so what is bad is left out.
fn accepted(datum: Datum) -> Vec<MetricDatum> {
    let unit = match datum.unit {
        Unit::Count => StandardUnit::Count,
        Unit::Bytes => StandardUnit::Bytes,
        Unit::Seconds => StandardUnit::Seconds,
        Unit::Milliseconds => StandardUnit::Milliseconds,
        Unit::None => StandardUnit::None,
    };
    let dimensions: Vec<_> =
        datum.dimensions.iter().filter_map(|(name, value)| dimension(name, value)).collect();
    let builder = MetricDatum::builder()
        .metric_name(datum.name)
        .unit(unit)
        .timestamp(DateTime::from_millis(datum.at.as_millis()))
        .set_dimensions(Some(dimensions.into_iter().take(MOST_DIMENSIONS).collect()));
    match datum.value {
        DatumValue::Single(value) if is_accepted(value) => vec![builder.value(value).build()],
        DatumValue::Single(_) => Vec::new(),
        DatumValue::Distribution { values, counts } => {
            let (values, counts): (Vec<_>, Vec<_>) = values
                .into_iter()
                .zip(counts)
                .filter(|(value, count)| is_accepted(*value) && is_accepted(*count) && *count > 0.0)
                .unzip();
            let chunks = values.chunks(MOST_VALUES).zip(counts.chunks(MOST_VALUES));
            chunks
                .map(|(values, counts)| {
                    let builder = builder.clone().set_values(Some(values.to_vec()));
                    builder.set_counts(Some(counts.to_vec())).build()
                })
                .collect()
        }
    }
}

/// CloudWatch takes finite numbers up to 2^360 either way.
fn is_accepted(value: f64) -> bool {
    value.is_finite() && value.abs() <= 2_f64.powi(360)
}

/// Printable ASCII of at most 1,024 characters; `None` if nothing is left.
fn dimension(name: &str, value: &str) -> Option<Dimension> {
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let value: String = value.chars().take(MOST_DIMENSION).map(printable).collect();
    let value = value.trim();
    (!value.is_empty()).then(|| Dimension::builder().name(name).value(value).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datum(value: DatumValue) -> Datum {
        let dimensions =
            vec![("Stream", "s".to_owned()), ("Shard", "ä".repeat(2000)), ("Host", String::new())];
        Datum { name: "Errors", dimensions, value, unit: Unit::Count, at: Timestamp::from_millis(1500) }
    }

    #[test]
    fn what_cloudwatch_would_refuse_is_left_out_or_mended() {
        assert!(accepted(datum(DatumValue::Single(f64::NAN))).is_empty());
        assert!(accepted(datum(DatumValue::Single(f64::INFINITY))).is_empty());
        assert!(accepted(datum(DatumValue::Single(1e300))).is_empty());
        let one = accepted(datum(DatumValue::Single(3.0)));
        let dimensions = one[0].dimensions();
        assert_eq!(dimensions.len(), 2);
        assert_eq!(dimensions[1].value(), Some("?".repeat(1024).as_str()));
    }

    #[test]
    fn a_wide_distribution_becomes_several_datums() {
        let values = (0..400).map(f64::from).collect();
        let many = accepted(datum(DatumValue::Distribution { values, counts: vec![1.0; 400] }));
        assert_eq!(many.iter().map(|datum| datum.values().len()).collect::<Vec<_>>(), [150, 150, 100]);
        let values = vec![1.0, f64::NAN, 2.0];
        let some = accepted(datum(DatumValue::Distribution { values, counts: vec![1.0, 1.0, 0.0] }));
        assert_eq!((some[0].values(), some[0].counts()), (&[1.0][..], &[1.0][..]));
    }

    #[test]
    fn a_call_takes_a_thousand_datums_and_less_than_a_megabyte() {
        let single = MetricDatum::builder().metric_name("m").value(1.0).build();
        let grouped = calls(std::iter::repeat_n(single, 2001));
        assert_eq!(grouped.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 1]);
        let long = accepted(datum(DatumValue::Single(1.0))).remove(0);
        assert!(calls(std::iter::repeat_n(long, 1000)).len() > 1);
    }
}
