//! The path once, on records that are the same at every run: `measured` is what valgrind counts.

#[path = "../measure/events.rs"]
mod events;
#[path = "../measure/input.rs"]
#[allow(dead_code, reason = "the benches use all of it")]
mod input;
#[path = "../measure/whole.rs"]
mod whole;

use std::hint::black_box;

use kinesis_keeper::codec::{BatchWriter, Finished};

/// The level that the daemon has by default.
const LEVEL: u32 = 6;

fn main() -> whole::Outcome<()> {
    let mut answers = Vec::new();
    for (name, each) in [("json1k", 1_000), ("small100", 5_000)] {
        let input = input::Input::named(name, [4, each], input::ARRIVED)?;
        answers.extend(input.replies.iter().map(|records| input::answer(records)));
    }
    let sealed = measured(&answers)?;
    println!("{} {}", sealed.content.records, sealed.content.size);
    Ok(())
}

#[inline(never)]
fn measured(answers: &[Vec<u8>]) -> whole::Outcome<Finished> {
    whole::sealed(black_box(answers), &mut BatchWriter::new(LEVEL))
}
