//! What a bucket's lifecycle rules may delete of an archive.
//!
//! Owns which rules can meet a prefix and after what time, and which surely meet a key. Fetching them is `s3`'s business.

use std::time::Duration;

use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, TransitionStorageClass};

use crate::model::expiry::{Due, Expiry, ExpiryRule};
use crate::model::timestamp::Timestamp;

const DAY: Duration = Duration::from_secs(86_400);

/// What `rules` surely delete. A rule that also asks for tags or a size is not counted: whether it meets an
/// object that is not there cannot be known.
pub(super) fn surely(rules: &[LifecycleRule]) -> Expiry {
    let enabled = rules.iter().filter(|rule| rule.status == ExpirationStatus::Enabled);
    let sure = enabled.filter(|rule| !is_conditional(rule));
    Expiry::new(
        sure.filter_map(|rule| Some(ExpiryRule { prefix: prefix_of(rule).to_owned(), due: due(rule)? }))
            .collect(),
    )
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
            let deletes_after = due(rule).map(|due| match due {
                Due::After(life) => life,
                // On a date everything goes; once it is past, whatever still comes.
                Due::On(date) => date.since(now),
            });
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

fn due(rule: &LifecycleRule) -> Option<Due> {
    let expiration = rule.expiration.as_ref()?;
    if let Some(days) = expiration.days {
        return Some(Due::After(DAY * u32::try_from(days).unwrap_or(0)));
    }
    let date = expiration.date.as_ref()?;
    Some(Due::On(Timestamp::from_seconds(date.secs())))
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

    const KEY: &str = "raw/clickstream/dt=2026-11-22/hour=05/x";

    fn taken(rules: &[LifecycleRule], key: &str, days: u32) -> bool {
        let put = Timestamp::from_seconds(1000);
        surely(rules).has_taken(key, put, put + DAY * days)
    }

    #[test]
    fn the_shortest_rule_that_surely_covers_the_key_counts() {
        let rules = [rule("raw/clickstream/dt=2025", 30), rule("other/", 1), rule("raw/", 90)];
        assert!(!taken(&rules, KEY, 89), "no rule of another hour or prefix");
        assert!(taken(&rules, KEY, 90));
        assert!(taken(&rules, "raw/clickstream/dt=2025-11-22/hour=05/x", 30));
        assert!(!taken(&rules, "else/x", 1000));
        assert!(taken(&[rule("", 7)], "else/x", 7));
    }

    #[test]
    fn disabled_rules_and_rules_that_delete_no_current_object_do_not_count() {
        let mut off = rule("", 1);
        off.status = ExpirationStatus::Disabled;
        let mut markers = rule("", 1);
        markers.expiration = Some(LifecycleExpiration::builder().expired_object_delete_marker(true).build());
        assert_eq!(surely(&[off, markers]), Expiry::default());
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
    fn a_rule_with_tags_or_a_size_is_not_sure_and_a_date_takes_what_was_there_before_it() {
        let and = LifecycleRuleAndOperator::builder()
            .prefix("raw/")
            .tags(Tag::builder().key("k").value("v").build().unwrap())
            .build();
        let mut tagged = rule("", 5);
        tagged.filter = Some(LifecycleRuleFilter::builder().and(and).build());
        let mut small = rule("", 5);
        small.filter = Some(LifecycleRuleFilter::builder().object_size_less_than(4096).build());
        assert!(!taken(&[tagged, small], KEY, 1000));
        let mut dated = rule("", 5);
        dated.expiration = Some(LifecycleExpiration::builder().date(DateTime::from_secs(1500)).build());
        let expiry = surely(&[dated]);
        let at = Timestamp::from_seconds;
        assert!(expiry.has_taken(KEY, at(1000), at(1500)));
        assert!(!expiry.has_taken(KEY, at(1000), at(1499)));
        assert!(!expiry.has_taken(KEY, at(1600), at(9000)), "what came after the date");
    }
}
