//! What a bucket's lifecycle rules may delete of an archive.
//!
//! Owns which rules can meet a prefix and after what time. Fetching them is `s3`'s business.

use std::time::Duration;

use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, TransitionStorageClass};

use crate::model::timestamp::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// The shortest time after which `rules` delete objects that may lie under `prefix`. A rule that
/// also asks for tags or a size is counted: an object may come to match it.
pub(super) fn shortest_expiry(rules: &[LifecycleRule], prefix: &str, now: Timestamp) -> Option<Duration> {
    rules
        .iter()
        .filter(|rule| rule.status == ExpirationStatus::Enabled)
        .filter(|rule| overlap(prefix_of(rule), prefix))
        .filter_map(|rule| expiry(rule, now))
        .min()
}

/// A rule that takes objects away, or to where they cannot be read at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// The rule's name.
    pub rule: String,
    /// The prefix of the keys that it is about; empty: all.
    pub prefix: String,
    /// After what time it deletes them; `None`: it moves them to an archive class.
    pub deletes_after: Option<Duration>,
    /// Whether it is about certain tags or sizes only.
    pub conditional: bool,
}

/// The rules that delete objects which may lie under `prefix`, or move them to an archive class.
pub(super) fn expiring(rules: &[LifecycleRule], prefix: &str, now: Timestamp) -> Vec<Expiring> {
    let enabled = rules.iter().filter(|rule| rule.status == ExpirationStatus::Enabled);
    enabled
        .filter(|rule| overlap(prefix_of(rule), prefix))
        .filter_map(|rule| {
            let deletes_after = expiry(rule, now);
            let touches = deletes_after.is_some() || archives(rule);
            touches.then(|| Expiring {
                rule: rule.id.clone().unwrap_or_default(),
                prefix: prefix_of(rule).to_owned(),
                deletes_after,
                conditional: is_conditional(rule),
            })
        })
        .collect()
}

/// Whether it moves objects to where a GET does not find them without a restore.
fn archives(rule: &LifecycleRule) -> bool {
    let classes =
        rule.transitions.iter().flatten().filter_map(|transition| transition.storage_class.as_ref());
    classes
        .into_iter()
        .any(|class| matches!(class, TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive))
}

fn is_conditional(rule: &LifecycleRule) -> bool {
    let Some(filter) = &rule.filter else { return false };
    filter.tag.is_some()
        || filter.object_size_greater_than.is_some()
        || filter.object_size_less_than.is_some()
        || filter.and.as_ref().is_some_and(|and| {
            and.tags.as_ref().is_some_and(|tags| !tags.is_empty())
                || and.object_size_greater_than.is_some()
                || and.object_size_less_than.is_some()
        })
}

fn prefix_of(rule: &LifecycleRule) -> &str {
    let filter = rule.filter.as_ref();
    let both = filter.and_then(|filter| filter.and.as_ref()).and_then(|and| and.prefix.as_deref());
    let alone = filter.and_then(|filter| filter.prefix.as_deref());
    // Rules of before 2016 have their prefix outside of the filter.
    #[allow(deprecated, reason = "buckets still have such rules")]
    let old = rule.prefix.as_deref();
    both.or(alone).or(old).unwrap_or_default()
}

fn overlap(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn expiry(rule: &LifecycleRule, now: Timestamp) -> Option<Duration> {
    let expiration = rule.expiration.as_ref()?;
    if let Some(days) = expiration.days {
        return Some(DAY * u32::try_from(days).unwrap_or(0));
    }
    // On a date everything goes; once it is past, whatever still comes.
    let date = expiration.date.as_ref()?;
    Some(Timestamp::from_seconds(date.secs()).since(now))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{
        LifecycleExpiration, LifecycleRuleAndOperator, LifecycleRuleFilter, Tag, Transition,
    };
    use aws_smithy_types::DateTime;

    use super::*;

    fn rule(prefix: &str, days: i32) -> LifecycleRule {
        LifecycleRule::builder()
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
            .expiration(LifecycleExpiration::builder().days(days).build())
            .build()
            .unwrap()
    }

    #[test]
    fn the_shortest_rule_that_can_meet_the_prefix_counts() {
        let now = Timestamp::from_seconds(0);
        let rules = [rule("raw/clickstream/dt=2025", 30), rule("other/", 1), rule("raw/", 90)];
        assert_eq!(shortest_expiry(&rules, "raw/clickstream/", now), Some(DAY * 30));
        assert_eq!(shortest_expiry(&rules, "raw/sensors/", now), Some(DAY * 90));
        assert_eq!(shortest_expiry(&rules, "else/", now), None);
        assert_eq!(shortest_expiry(&[rule("", 7)], "else/", now), Some(DAY * 7));
    }

    #[test]
    fn disabled_rules_and_rules_that_delete_no_current_object_do_not_count() {
        let now = Timestamp::from_seconds(0);
        let mut off = rule("", 1);
        off.status = ExpirationStatus::Disabled;
        let mut markers = rule("", 1);
        markers.expiration = Some(LifecycleExpiration::builder().expired_object_delete_marker(true).build());
        assert_eq!(shortest_expiry(&[off, markers], "a/", now), None);
    }

    #[test]
    fn rules_that_take_objects_away_or_out_of_reach_are_named() {
        let now = Timestamp::from_seconds(0);
        let named = |id: &str, mut rule: LifecycleRule| {
            rule.id = Some(id.to_owned());
            rule
        };
        let to = |class: TransitionStorageClass| {
            let moved = Transition::builder().days(30).storage_class(class).build();
            let mut rule = rule("a/", 1);
            rule.expiration = None;
            rule.transitions = Some(vec![moved]);
            rule
        };
        let mut small = rule("a/s/", 9);
        small.filter = Some(LifecycleRuleFilter::builder().object_size_less_than(4096).build());
        let mut off = rule("", 1);
        off.status = ExpirationStatus::Disabled;
        let rules = [
            named("all", rule("", 7)),
            named("other", rule("b/", 1)),
            named("cold", to(TransitionStorageClass::DeepArchive)),
            named("cool", to(TransitionStorageClass::StandardIa)),
            named("small", small),
            named("off", off),
        ];
        let found = expiring(&rules, "a/s/_ledger/", now);
        let told: Vec<_> = found
            .iter()
            .map(|rule| {
                (
                    rule.rule.as_str(),
                    rule.deletes_after.map(|after| after.as_secs() / 86_400),
                    rule.conditional,
                )
            })
            .collect();
        assert_eq!(told, [("all", Some(7), false), ("cold", None, false), ("small", Some(9), true)]);
        assert_eq!(found[0].prefix, "");
    }

    #[test]
    fn rules_with_tags_and_dates_count() {
        let and = LifecycleRuleAndOperator::builder()
            .prefix("a/")
            .tags(Tag::builder().key("k").value("v").build().unwrap())
            .build();
        let mut tagged = rule("", 5);
        tagged.filter = Some(LifecycleRuleFilter::builder().and(and).build());
        let now = Timestamp::from_seconds(1000);
        assert_eq!(shortest_expiry(&[tagged.clone()], "a/b/", now), Some(DAY * 5));
        assert_eq!(shortest_expiry(&[tagged], "b/", now), None);
        let mut dated = rule("", 5);
        dated.expiration = Some(LifecycleExpiration::builder().date(DateTime::from_secs(1500)).build());
        assert_eq!(shortest_expiry(&[dated], "a/", now), Some(Duration::from_secs(500)));
    }
}
