use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::timestamp::Timestamp;

fn hour() -> Hour {
    Timestamp::from_seconds(1_795_300_000).hour()
}

fn ledger(shard: &str) -> Standing {
    Standing {
        shard: ShardId::new(shard),
        creation: Creation::This,
        ended: false,
        hour: Some(hour()),
        serial: Some(7),
    }
}

struct Case {
    listing: Listing,
    promises: HashMap<ShardId, Promise>,
    draining: Option<String>,
    ledgers: Vec<Standing>,
}

/// Two shards: one has its end, the other promises.
fn due() -> Case {
    Case {
        listing: Listing {
            at: hour().end() + Duration::from_secs(60),
            shards: ["a", "b"].map(ShardId::new).to_vec(),
        },
        promises: HashMap::from([(ShardId::new("b"), Promise { serial: 7, from: hour().next() })]),
        draining: None,
        ledgers: vec![Standing { ended: true, ..ledger("a") }, ledger("b")],
    }
}

fn judged(change: impl FnOnce(&mut Case)) -> Result<(), NotDue> {
    let mut case = due();
    change(&mut case);
    let Case { listing, promises, draining, ledgers } = &case;
    View { listing, promises, draining: draining.clone(), ledgers }.judge(hour())
}

#[test]
fn each_condition_counts() {
    let shard = |name: &str| Err(NotDue::Shard(ShardId::new(name)));
    assert_eq!(judged(|_| ()), Ok(()));
    assert_eq!(judged(|case| case.listing.at = case.listing.at - Duration::from_secs(1)), Err(NotDue::Time));
    assert_eq!(judged(|case| case.promises.clear()), shard("b"));
    assert_eq!(judged(|case| case.ledgers[0].ended = false), shard("a"));
    assert_eq!(
        judged(|case| case.listing.shards.push(ShardId::new("c"))),
        Err(NotDue::NoLedger(ShardId::new("c")))
    );
    assert_eq!(judged(|case| case.draining = Some("a@5".into())), Err(NotDue::Draining("a@5".into())));
    // A shard that is not listed any more, and whose end is still to come.
    assert_eq!(judged(|case| case.ledgers.push(ledger("old"))), shard("old"));
    assert_eq!(
        judged(|case| case.ledgers.push(Standing { creation: Creation::Earlier, ..ledger("a") })),
        Ok(())
    );
    let later = Standing { creation: Creation::Later, ..ledger("a") };
    assert_eq!(judged(|case| case.ledgers.push(later)), Err(NotDue::Replaced));
}

#[test]
fn a_promise_counts_from_its_entry_on() {
    let promise = |serial, from: Hour| {
        judged(|case| case.promises = HashMap::from([(ShardId::new("b"), Promise { serial, from })]))
    };
    assert_eq!(promise(3, hour().next()), Ok(()));
    assert!(promise(8, hour().next()).is_err(), "entry 8 may be of this hour");
    assert!(promise(7, hour()).is_err());
    assert_eq!(
        judged(|case| {
            case.promises.clear();
            case.ledgers[1].hour = Some(hour().next());
        }),
        Ok(())
    );
    assert!(judged(|case| case.ledgers[1].serial = None).is_err());
}

/// A ledger as it will be in the end, and how much of it was read so far.
#[derive(Clone, Debug)]
struct Future {
    /// Hours of the batches from serial 1 on, that do not go back.
    hours: Vec<i64>,
    read: usize,
    /// Whether the promise of what follows an entry is known, and of which.
    promised: Option<usize>,
    ended: bool,
}

fn future() -> impl Strategy<Value = Future> {
    (prop::collection::vec(0..3_i64, 0..8), 0..9_usize, prop::option::of(0..9_usize), any::<bool>()).prop_map(
        |(steps, read, promised, ended)| {
            let hours: Vec<i64> = steps
                .iter()
                .scan(0, |at, step| {
                    *at += step;
                    Some(*at)
                })
                .collect();
            let most = hours.len();
            Future { read: read.min(most), promised: promised.map(|of| of.min(most)), ended, hours }
        },
    )
}

proptest! {
    /// Whatever was read of the ledgers: if an hour is due, all of its entries have been read.
    #[test]
    fn nothing_of_a_due_hour_can_come(futures in prop::collection::vec(future(), 1..5), at in 0..16_i64) {
        let base = hour();
        let name = |index: usize| ShardId::new(format!("s{index}"));
        let ledgers: Vec<Standing> = futures.iter().enumerate().map(|(index, future)| Standing {
            shard: name(index),
            creation: Creation::This,
            ended: future.ended && future.read == future.hours.len(),
            hour: future.hours[..future.read].last().map(|hour| base.plus(*hour)),
            serial: Some(future.read as u64),
        }).collect();
        let promises: HashMap<ShardId, Promise> = futures.iter().enumerate().filter_map(|(index, future)| {
            let serial = future.promised?;
            // What follows is of the next batch's hour at the earliest; nothing follows the last.
            let from = future.hours.get(serial).map_or(base.plus(99), |hour| base.plus(*hour));
            Some((name(index), Promise { serial: serial as u64, from }))
        }).collect();
        let shards = (0..futures.len()).map(name).collect();
        let listing = Listing { at: base.plus(20).start(), shards };
        let view = View { listing: &listing, promises: &promises, draining: None, ledgers: &ledgers };
        let asked = base.plus(at);
        if view.judge(asked).is_ok() {
            for future in &futures {
                prop_assert!(future.hours[future.read..].iter().all(|hour| base.plus(*hour) > asked));
            }
        }
    }
}
