//! Takes one rule of the protocol away at a time: something must then go wrong. A simulation that never
//! fails proves nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kinesis_keeper::model::rules::{Rule, Rules};

use crate::{seeds, traces};

/// Random runs before a rule counts as not needed.
const SEEDS: u64 = 300;

/// What first goes wrong without a rule.
fn first_failure(rule: Rule) -> Option<String> {
    let rules = Rules::without(rule);
    let trace = traces::ALL.iter().find_map(|(name, trace)| {
        let result = catch_unwind(AssertUnwindSafe(|| trace(rules)));
        match result {
            Ok(Ok(())) => None,
            Ok(Err(told)) => Some(format!("{name}: {told}")),
            Err(_) => Some(format!("{name}: panicked")),
        }
    });
    trace.or_else(|| {
        (0..SEEDS)
            .find_map(|seed| seeds::run(seed, rules, false).err().map(|told| format!("seed {seed}: {told}")))
    })
}

#[test]
fn every_rule_is_needed() {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let results: Vec<_> = Rule::ALL.iter().map(|rule| (rule, first_failure(*rule))).collect();
    std::panic::set_hook(quiet);
    for (rule, failure) in &results {
        eprintln!("without {rule:?}: {}", failure.as_deref().unwrap_or("NOTHING FAILS"));
    }
    let idle: Vec<_> =
        results.iter().filter(|(_, failure)| failure.is_none()).map(|(rule, _)| rule).collect();
    assert!(idle.is_empty(), "nothing fails without {idle:?}");
}
