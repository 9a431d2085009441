use super::*;
use crate::model::timestamp::Timestamp;

fn id(number: usize) -> ShardId {
    ShardId::new(format!("shardId-{number:012}"))
}

fn open(number: usize, start: u128, end: u128) -> Shard {
    Shard { id: id(number), parents: vec![], range: HashKeyRange { start, end }, closed: false }
}

fn starts(plan: &Plan) -> Vec<(&str, Mode)> {
    let start = |action: &'_ Action| match action {
        Action::Start(start) => Some((start.folder.as_str().to_owned(), start.mode)),
        Action::Stop(_) => None,
    };
    let found: Vec<_> = plan.actions.iter().filter_map(start).collect();
    // Leaked on purpose: the names live as long as the assertion that compares them.
    found.into_iter().map(|(name, mode)| (&*name.leak(), mode)).collect()
}

const READ: Running = Running { mode: Mode::Read, stopping: false };

#[test]
fn every_listed_shard_gets_one_thread() {
    let mut view = View::default();
    view.census.listing(&[open(0, 0, 9), open(1, 10, 19)]);
    let (a, b) = ("shardId-000000000000", "shardId-000000000001");
    assert_eq!(starts(&view.plan(Duration::ZERO)), [(a, Mode::Read), (b, Mode::Read)]);
    view.running.insert(a.into(), READ);
    assert_eq!(starts(&view.plan(Duration::ZERO)), [(b, Mode::Read)]);
    view.done.insert(b.into(), Done::Ended);
    assert_eq!(view.plan(Duration::ZERO), Plan::default());
}

#[test]
fn a_thread_that_failed_waits_for_its_time() {
    let mut view = View::default();
    view.census.listing(&[open(0, 0, 9), open(1, 10, 19)]);
    let at = Duration::from_secs(5);
    view.retry_at.insert("shardId-000000000000".into(), at);
    view.retry_at.insert("shardId-000000000001".into(), at * 2);
    let waiting = Plan { actions: vec![], retry_at: Some(at) };
    assert_eq!(view.plan(Duration::ZERO), waiting);
    assert_eq!(starts(&view.plan(at)), [("shardId-000000000000", Mode::Read)]);
}

#[test]
fn a_shard_is_gone_only_after_several_listings_without_it() {
    let mut view = View::default();
    let (gone, stays) = (open(0, 0, 9), open(1, 10, 19));
    view.census.known(id(7));
    view.census.listing(&[gone, stays.clone()]);
    view.running.insert("shardId-000000000000".into(), READ);
    view.running.insert("shardId-000000000001".into(), READ);
    for _ in 1..LISTINGS_WITHOUT {
        view.census.listing(std::slice::from_ref(&stays));
    }
    // The one known from the disk was missing from the first listing too.
    assert_eq!(starts(&view.plan(Duration::ZERO)), [("shardId-000000000007", Mode::Unlisted)]);
    view.running.insert("shardId-000000000007".into(), Running { mode: Mode::Unlisted, stopping: false });
    view.census.listing(std::slice::from_ref(&stays));
    let stop = Action::Stop("shardId-000000000000".into());
    assert_eq!(view.plan(Duration::ZERO).actions, [stop]);
    view.running.insert("shardId-000000000000".into(), Running { mode: Mode::Read, stopping: true });
    assert_eq!(view.plan(Duration::ZERO), Plan::default());
    view.running.remove("shardId-000000000000");
    assert_eq!(starts(&view.plan(Duration::ZERO)), [("shardId-000000000000", Mode::Unlisted)]);
}

#[test]
fn a_shard_that_comes_back_is_counted_anew() {
    let mut census = Census::default();
    census.known(id(0));
    for _ in 1..LISTINGS_WITHOUT {
        census.listing(&[]);
    }
    census.listing(&[open(0, 0, 9)]);
    census.listing(&[]);
    assert_eq!(census.gone().count(), 0);
}

#[test]
fn without_a_listing_only_what_is_sealed_is_delivered() {
    let mut view = View::default();
    view.census.known(id(0));
    view.census.known(id(1));
    view.pending.insert(id(0));
    let folder = "shardId-000000000000";
    assert_eq!(starts(&view.plan(Duration::ZERO)), [(folder, Mode::Deliver)]);
    view.done.insert(folder.into(), Done::Drained);
    assert_eq!(view.plan(Duration::ZERO), Plan::default());
    view.census.listing(&[open(0, 0, 9)]);
    assert_eq!(starts(&view.plan(Duration::ZERO)), [(folder, Mode::Read)]);
    // It still drains when the listing comes: it makes room first.
    view.done.clear();
    view.running.insert(folder.into(), Running { mode: Mode::Deliver, stopping: false });
    assert_eq!(view.plan(Duration::ZERO).actions, [Action::Stop(folder.into())]);
}

#[test]
fn while_the_stream_is_not_found_its_shards_deliver_what_is_sealed() {
    let mut view = View::default();
    view.census.listing(&[open(0, 0, 9), open(1, 10, 19)]);
    let [first, second] = ["shardId-000000000000", "shardId-000000000001"];
    view.running.insert(first.into(), Running { mode: Mode::Read, stopping: false });
    view.away = true;
    assert_eq!(view.plan(Duration::ZERO).actions.len(), 1, "what runs finds out by itself");
    assert_eq!(starts(&view.plan(Duration::ZERO)), [(second, Mode::Deliver)]);
    view.running.clear();
    view.done.insert(second.into(), Done::Drained);
    assert_eq!(starts(&view.plan(Duration::ZERO)), [(first, Mode::Deliver)]);
    view.running.insert(first.into(), Running { mode: Mode::Deliver, stopping: false });
    view.away = false;
    assert_eq!(starts(&view.plan(Duration::ZERO)), [(second, Mode::Read)]);
    assert!(view.plan(Duration::ZERO).actions.contains(&Action::Stop(first.into())));
}

#[test]
fn folders_of_an_earlier_creation_drain_beside_the_new_shard() {
    let mut view = View::default();
    let old = OldFolder {
        folder: "shardId-000000000000@7".into(),
        shard: id(0),
        created: Timestamp::from_millis(7123),
    };
    view.old.push(old.clone());
    view.census.listing(&[open(0, 0, 9)]);
    let plan = view.plan(Duration::ZERO);
    assert_eq!(
        starts(&plan),
        [("shardId-000000000000", Mode::Read), ("shardId-000000000000@7", Mode::Drain)]
    );
    let Action::Start(start) = &plan.actions[1] else { panic!("{plan:?}") };
    assert_eq!((&start.old, &start.shard.id), (&Some(old), &id(0)));
}

#[test]
fn thousands_of_ended_shards_are_looked_at_a_few_at_a_time() {
    let mut view = View::default();
    (0..1000).for_each(|number| view.census.known(id(number)));
    (0..LISTINGS_WITHOUT).for_each(|_| view.census.listing(&[]));
    assert_eq!(view.plan(Duration::ZERO).actions.len(), UNLISTED_AT_ONCE);
}

#[test]
fn coverage_is_exact_where_it_matters() {
    let range = |start, end| HashKeyRange { start, end };
    let half = 1_u128 << 127;
    assert_eq!(key_space_covered(vec![]), 0.0);
    assert_eq!(key_space_covered(vec![HashKeyRange::WHOLE]), 1.0);
    assert_eq!(key_space_covered(vec![range(half, u128::MAX)]), 0.5);
    assert_eq!(key_space_covered(vec![range(half, u128::MAX), range(0, half - 1)]), 1.0);
    assert_eq!(key_space_covered(vec![range(0, half), range(0, 5), range(7, half - 1)]), 0.5);
    assert_eq!(key_space_covered(vec![range(0, u128::MAX), range(3, 5)]), 1.0);
}
