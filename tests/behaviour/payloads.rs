//! Every byte of every payload comes back through independent readers.

use std::collections::BTreeSet;

use crate::support::aws;
use crate::support::keeper::LIMIT;
use crate::support::scene::Scene;

fn oddities() -> Vec<Vec<u8>> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut odd: Vec<Vec<u8>> = vec![
        b"x".to_vec(),
        vec![0],
        vec![0xff],
        b"\n".to_vec(),
        b"\r\n\r\n".to_vec(),
        b"three\nlines\nof text\n".to_vec(),
        b"\"quotes\" and \\back\\slashes\\ and \"\"\\\"".to_vec(),
        "emoji \u{1f980}\u{1f469}\u{200d}\u{1f680} and \u{2028}\u{2029}\u{feff}".as_bytes().to_vec(),
        "\u{0}\u{1}\u{8}\u{b}\u{c}\u{1b}\u{7f}\u{85}".as_bytes().to_vec(),
        b"</script>\t/ and /\\/".to_vec(),
        "\u{e9}\u{4e2d}\u{6587}\u{10ffff}\u{fffd}".as_bytes().to_vec(),
        every_byte.clone(),
        [b"text, then ".as_slice(), &[0xc3, 0x28]].concat(),
        vec![0xed, 0xa0, 0x80],
        vec![0xc0, 0x80],
        "cut \u{1f980}".as_bytes()[..7].to_vec(),
        every_byte.repeat(40),
        vec![0xf3, 0x89, 0x9a, 0xc2],
        [&[0xf3, 0x89, 0x9a, 0xc2][..], &[7; 40]].concat(),
    ];
    // As large as a record can be with its key, as text and as bytes.
    odd.push("\u{e9}\"\n".repeat((1 << 20) / 4 - 64).into_bytes());
    odd.push(every_byte.repeat((1 << 20) / 256 - 1));
    odd
}

#[test]
fn every_byte_of_every_payload_comes_back_through_independent_readers() {
    let mut scene = Scene::new("payloads", 1);
    // An emulator may refuse what AWS takes; what it took must come back.
    for (n, payload) in [vec![]].into_iter().chain(oddities()).enumerate() {
        if aws::try_put(&scene.stream, &format!("\u{30ad}\u{30fc} \"{n}\""), &payload) {
            scene.put.push(payload);
        } else {
            assert!(payload.is_empty(), "the server refused payload {n}");
        }
    }
    let mut keeper = scene.setting().max_age("1s").start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    for record in &archive.records {
        assert!(record.partition_key.as_deref().is_some_and(|key| key.starts_with("\u{30ad}\u{30fc} \"")));
    }
    let by_python: BTreeSet<_> = scene.read_by_python(&archive).into_iter().collect();
    let by_us = archive.records.iter().map(|record| (record.sequence_number.clone(), record.data.clone()));
    assert!(by_python == by_us.collect(), "Python reads something else");
}
