//! A line that is too slow for all requests at once.

use super::*;
use crate::ports::put::DEADLINE;

/// Bytes a second: 20 Mbit/s.
const RATE: f64 = 2.5e6;
const STEP: Duration = Duration::from_millis(20);

/// What shares the line, each with the bytes that are still to be sent.
type UnderWay = Vec<(Request, f64)>;

/// A while on the line; gives the answers that came, and the time-outs.
fn pass(under_way: &mut UnderWay, core: &mut Core, now: Duration) {
    let share = RATE * STEP.as_secs_f64() / under_way.len().max(1) as f64;
    let (mut arrived, mut left) = (Vec::new(), Vec::new());
    for (request, bytes) in under_way.drain(..) {
        if bytes <= share {
            arrived.push(request);
        } else if now >= request.sent + DEADLINE {
            core.answered(request, Err(fault(PutFault::Unknown)), now);
        } else {
            left.push((request, bytes - share));
        }
    }
    for request in arrived {
        answer(core, request, now, |_| None);
    }
    *under_way = left;
}

#[test]
fn on_a_slow_line_everything_comes_through_and_little_twice() {
    const RECORDS: u64 = 10_000;
    let mut core = core(unlimited(), 4);
    core.begin_flush();
    let (mut now, mut tag, mut under_way) = (Duration::ZERO, 0, UnderWay::new());
    while tag < RECORDS || core.held() > 0 {
        while tag < RECORDS && core.admit(record(tag, &format!("key-{tag}"), 20_000), now).is_ok() {
            tag += 1;
        }
        while let Step::Send(request) = core.next(now) {
            // In base64.
            let bytes = request.bytes as f64 * 4.0 / 3.0;
            under_way.push((request, bytes));
        }
        now += STEP;
        pass(&mut under_way, &mut core, now);
        assert!(now < 300 * SECOND, "{:?} after {now:?}", core.totals);
    }
    assert_eq!((core.totals.delivered, core.totals.undelivered), (RECORDS, 0));
    assert!(core.totals.ambiguous <= 8 * 500, "{:?}", core.totals);
}
