//! Tools that have never heard of the keeper read what it archives: the real programs, each compared in
//! count and content with what was produced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::support::archive::{Archive, forms};
use crate::support::keeper::LIMIT;
use crate::support::scene::Scene;
use crate::support::{servers, sha256};

/// Records of 9 KB: enough for more than one member.
const RECORDS: usize = 150;

/// An archive, as the keeper left it.
struct Archived {
    scene: Scene,
    archive: Archive,
}

/// A copy of it in a folder.
struct Copied<'a> {
    of: &'a Archived,
    folder: TempDir,
}

/// Archives these payloads, and enough others for an object of several members.
fn archived(word: &str, format: &str, compression: &str, payloads: Vec<Vec<u8>>) -> Archived {
    let mut scene = Scene::new(word, 1);
    let setting = scene.setting().max_age("5s").text("archive", "format", format);
    let setting = setting.text("archive", "compression", compression);
    scene.put_all(payloads);
    let mut random = fastrand::Rng::with_seed(1);
    scene.put_all((0..RECORDS).map(|n| {
        let letters: String = std::iter::repeat_with(|| random.alphanumeric()).take(9_000).collect();
        format!("{{\"of\":\"{word}\",\"n\":{n},\"text\":\"{letters}\"}}").into_bytes()
    }));
    let mut keeper = setting.start();
    scene.wait_all_archived(LIMIT);
    keeper.stop();
    let archive = scene.check();
    let sizes = archive.objects.iter().map(|(key, object)| forms::unpack(key, object).len());
    assert!(sizes.max() > Some(1 << 20), "an object of several members");
    Archived { scene, archive }
}

fn odd() -> Vec<Vec<u8>> {
    let every_byte: Vec<u8> = (0..=255).collect();
    vec![
        b"x".to_vec(),
        vec![0xff],
        b"\n".to_vec(),
        b"three\r\nlines\nof \"text\"\\\n".to_vec(),
        "emoji \u{1f980} and \u{2028}\u{85}\u{0}\u{1}".as_bytes().to_vec(),
        every_byte.repeat(5),
    ]
}

fn envelopes() -> Copied<'static> {
    static ARCHIVED: OnceLock<Archived> = OnceLock::new();
    ARCHIVED.get_or_init(|| archived("tools", "envelope", "gzip", odd())).copied()
}

impl Archived {
    fn copied(&self) -> Copied<'_> {
        let folder = tempfile::tempdir().unwrap();
        for (key, object) in &self.archive.objects {
            let path = folder.path().join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &object.body).unwrap();
        }
        Copied { of: self, folder }
    }

    fn records(&self) -> BTreeSet<(String, Vec<u8>)> {
        let records = self.archive.records.iter();
        records.map(|record| (record.sequence_number.clone(), record.data.clone())).collect()
    }
}

impl Copied<'_> {
    /// The objects in the order of their keys.
    fn files(&self) -> Vec<PathBuf> {
        self.of.archive.objects.keys().map(|key| self.folder.path().join(key)).collect()
    }

    /// Lines and SHA-256 of the text of all objects.
    fn expected(&self) -> String {
        let text: Vec<Vec<u8>> =
            self.of.archive.objects.iter().map(|(key, object)| forms::unpack(key, object)).collect();
        let text = text.concat();
        format!("{} {}", text.iter().filter(|byte| **byte == b'\n').count(), sha256(&text))
    }

    fn root(&self) -> String {
        self.folder.path().join(&self.of.scene.stream).display().to_string()
    }
}

#[track_caller]
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tools").join(name)
}

fn aws_cli(arguments: &[&str]) -> String {
    let mut command = Command::new(servers::tools().join("aws"));
    command
        .args(["--endpoint-url", servers::ministack().endpoint()])
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    output(&mut command)
}

/// What DuckDB prints of the archive: a first and a second column.
fn duck(copied: &Copied<'_>, arguments: &[&str]) -> Vec<(String, String)> {
    let (kind, more) = arguments.split_first().unwrap();
    let mut command = Command::new(servers::tools().join("python"));
    command.arg(tool("duck.py")).arg(kind).arg(copied.root()).args(more);
    let lines = output(&mut command);
    lines.lines().map(|line| line.split_once(' ').unwrap()).map(|(a, b)| (a.into(), b.into())).collect()
}

#[test]
fn the_aws_cli_lists_and_copies_the_archive() {
    let Archived { scene, archive } = envelopes().of;
    let all = format!("s3://{}/{}/dt=", scene.bucket, scene.stream);
    let listed = aws_cli(&["s3", "ls", "--recursive", &all]);
    let sizes: BTreeMap<&str, u64> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .map(|fields| (fields[3], fields[2].parse().unwrap()))
        .collect();
    let expected = archive.objects.iter().map(|(key, object)| (key.as_str(), object.body.len() as u64));
    assert_eq!(sizes, expected.collect());
    let folder = tempfile::tempdir().unwrap();
    let all = format!("s3://{}", scene.bucket);
    aws_cli(&["s3", "cp", "--recursive", "--quiet", &all, &folder.path().display().to_string()]);
    for (key, object) in &archive.objects {
        assert!(fs::read(folder.path().join(key)).unwrap() == object.body, "{key}");
    }
}

#[test]
fn zcat_reads_it() {
    let copied = envelopes();
    let output = Command::new("zcat").args(copied.files()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(format!("{lines} {}", sha256(&output.stdout)), copied.expected());
}

#[test]
fn python_reads_it_with_gzip_and_json() {
    let copied = envelopes();
    let read: BTreeSet<_> = copied.of.scene.read_by_python(&copied.of.archive).into_iter().collect();
    assert!(read == copied.of.records());
}

#[test]
fn node_reads_it_with_zlib() {
    let copied = envelopes();
    let read = output(Command::new("node").arg(tool("read.js")).args(copied.files()));
    assert_eq!(read.trim(), copied.expected());
}

#[test]
fn java_reads_it_with_java_util_zip() {
    if Command::new("java").arg("-version").output().is_err() {
        // Rust, Node and Python are all that the tests ask for.
        eprintln!("LEFT OUT: no java on this machine; java.util.zip was not tried");
        return;
    }
    let copied = envelopes();
    let read = output(Command::new("java").arg(tool("Read.java")).args(copied.files()));
    assert_eq!(read.trim(), copied.expected());
}

#[test]
fn duckdb_reads_it_with_hive_partitioning() {
    let copied = envelopes();
    let read = duck(&copied, &["envelope", "gz"]);
    let read: BTreeSet<(String, Vec<u8>)> =
        read.into_iter().map(|(number, data)| (number, crate::support::unhex(&data))).collect();
    assert!(read == copied.of.records());
    let guessed = duck(&copied, &["guess"]);
    let mut count = 0;
    for (dt, rest) in guessed {
        let fields: Vec<&str> = rest.split(' ').collect();
        let folder = format!("/dt={dt}/hour={:0>2}/", fields[0]);
        assert!(copied.of.archive.objects.keys().any(|key| key.contains(&folder)), "{folder}");
        count += fields[1].parse::<usize>().unwrap();
    }
    assert_eq!(count, copied.of.scene.put.len());
}

#[test]
fn others_read_zstd() {
    let zstd = archived("tools-zstd", "envelope", "zstd", odd());
    let copied = zstd.copied();
    let mut command = Command::new(servers::tools().join("python"));
    let read = output(command.arg(tool("zstd.py")).args(copied.files()));
    assert_eq!(read.trim(), copied.expected());
    let read = duck(&copied, &["envelope", "zst"]);
    let read: BTreeSet<(String, Vec<u8>)> =
        read.into_iter().map(|(number, data)| (number, crate::support::unhex(&data))).collect();
    assert!(read == copied.of.records());
}

#[test]
fn others_read_payloads_and_see_nothing_of_the_side_object() {
    let payloads = archived("tools-payload", "payload", "gzip", vec![b"a\nb".to_vec(), vec![0xff; 9]]);
    let copied = payloads.copied();
    let sides = copied.of.archive.objects.keys().filter(|key| key.contains("/_shardId-")).count();
    assert!(sides > 0);
    let lines: Vec<PathBuf> =
        copied.files().into_iter().filter(|path| path.to_string_lossy().ends_with(".payload.gz")).collect();
    let output = Command::new("zcat").args(lines).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: BTreeSet<&[u8]> =
        output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let expected: BTreeSet<&[u8]> = copied.of.scene.put[2..].iter().map(Vec::as_slice).collect();
    assert!(read == expected, "{} lines", read.len());
    let rows = duck(&copied, &["payload"]);
    let found: Vec<String> = rows.iter().map(|(of, n)| format!("{of} {n}")).collect();
    assert_eq!(found, (0..RECORDS).map(|n| format!("tools-payload {n}")).collect::<Vec<_>>());
}
