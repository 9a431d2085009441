//! Traces that random seeds seldom meet, each written down: what happens, and what must come of it.

mod disks;
mod expiry;
mod hours;
mod keepers;
mod levels;
mod outages;
mod pace;

use kinesis_keeper::model::rules::Rules;

/// A trace: fails with what went wrong.
pub type Trace = fn(Rules) -> Result<(), String>;

/// Every trace, by name.
pub const ALL: &[(&str, Trace)] = &[
    ("sealed_records_outlive_a_long_outage", outages::sealed_records_outlive_a_long_outage),
    ("an_empty_reply_hides_nothing", outages::an_empty_reply_hides_nothing),
    ("latest_and_a_reshard_in_the_first_minute", outages::latest_and_a_reshard_in_the_first_minute),
    ("another_completes_an_entry", keepers::another_completes_an_entry),
    ("an_entry_nobody_can_render_is_void", keepers::an_entry_nobody_can_render_is_void),
    ("a_delayed_entry_lands_after_a_restart", keepers::a_delayed_entry_lands_after_a_restart),
    ("a_delayed_object_lands_after_a_restart", keepers::a_delayed_object_lands_after_a_restart),
    ("an_older_disk_is_restored", outages::an_older_disk_is_restored),
    ("an_expired_object_is_never_put_again", keepers::an_expired_object_is_never_put_again),
    ("what_never_came_does_not_pass_for_expired", expiry::what_never_came_does_not_pass_for_expired),
    ("a_void_that_has_expired_is_still_one", expiry::a_void_that_has_expired_is_still_one),
    ("covered_records_are_kept_until_seen", keepers::covered_records_are_kept_until_seen),
    ("an_entry_that_matches_nothing_stops_the_shard", keepers::an_entry_that_matches_nothing_stops_the_shard),
    ("a_lost_disk_asks_whether_anything_was_trimmed", outages::a_lost_disk_asks_whether_anything_was_trimmed),
    ("a_hole_in_the_spool_is_read_first", outages::a_hole_in_the_spool_is_read_first),
    ("records_under_anothers_gap_are_kept_aside", keepers::records_under_anothers_gap_are_kept_aside),
    ("what_another_archived_is_cut_off", keepers::what_another_archived_is_cut_off),
    ("a_blind_keeper_looks_before_it_tells_of_a_gap", keepers::a_blind_keeper_looks_before_it_tells_of_a_gap),
    ("whoever_comes_back_announces_what_he_missed", keepers::whoever_comes_back_announces_what_he_missed),
    ("records_in_memory_prove_nothing", outages::records_in_memory_prove_nothing),
    ("another_began_when_our_first_record_was_gone", keepers::another_began_when_our_first_record_was_gone),
    ("what_is_held_of_a_lost_entry_is_archived", keepers::what_is_held_of_a_lost_entry_is_archived),
    ("two_stretches_from_one_record_lie_aside", keepers::two_stretches_from_one_record_lie_aside),
    ("latest_and_a_reshard_much_later", outages::latest_and_a_reshard_much_later),
    ("a_child_that_nobody_began_is_told", outages::a_child_that_nobody_began_is_told),
    (
        "what_is_found_damaged_far_behind_is_read_again",
        outages::what_is_found_damaged_far_behind_is_read_again,
    ),
    ("a_gone_shard_with_a_hole_is_closed", outages::a_gone_shard_with_a_hole_is_closed),
    ("what_was_spilled_and_lost_is_read_again", outages::what_was_spilled_and_lost_is_read_again),
    ("what_a_gap_covers_waits_for_the_disk", outages::what_a_gap_covers_waits_for_the_disk),
    ("an_hour_waits_for_what_is_sealed", hours::an_hour_waits_for_what_is_sealed),
    (
        "what_comes_after_its_hour_lies_in_the_next_open",
        hours::what_comes_after_its_hour_lies_in_the_next_open,
    ),
    ("idle_hours_are_told_through_lost_disks", hours::idle_hours_are_told_through_lost_disks),
    ("a_stream_made_again_goes_on_with_the_hours", hours::a_stream_made_again_goes_on_with_the_hours),
    ("a_shard_behind_on_busy_cores_compresses_fast", levels::a_shard_behind_on_busy_cores_compresses_fast),
    ("a_sealed_batch_remembers_its_level", levels::a_sealed_batch_remembers_its_level),
    ("a_fixed_level_asks_nobody", levels::a_fixed_level_asks_nobody),
    ("who_waits_for_a_turn_to_seal_reads_on", pace::who_waits_for_a_turn_to_seal_reads_on),
    ("who_waits_for_room_to_put_reads_on", pace::who_waits_for_room_to_put_reads_on),
    (
        "a_claimed_batch_is_read_again_though_calls_fail",
        disks::a_claimed_batch_is_read_again_though_calls_fail,
    ),
    (
        "a_full_disk_does_not_keep_what_it_holds_from_being_put",
        disks::a_full_disk_does_not_keep_what_it_holds_from_being_put,
    ),
    ("what_the_disk_never_gives_back_is_read_again", disks::what_the_disk_never_gives_back_is_read_again),
    ("a_gap_ends_at_what_is_sealed_behind_another", disks::a_gap_ends_at_what_is_sealed_behind_another),
    ("who_is_abandoned_seals_what_is_open", disks::who_is_abandoned_seals_what_is_open),
];

#[test]
fn every_trace_ends_well() {
    let mut failed = Vec::new();
    let only = std::env::var("SIMULATION_TRACE").unwrap_or_default();
    for (name, trace) in ALL.iter().filter(|(name, _)| name.contains(&only)) {
        let result = std::panic::catch_unwind(|| trace(Rules::default()));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(told)) => failed.push(format!("{name}: {told}")),
            Err(_) => failed.push(format!("{name}: panicked")),
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
