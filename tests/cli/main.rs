//! The command line of the real binary: what it prints, and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod manual;
mod reading;
mod starting;
mod stopping;

use std::process::{Command, Output};

fn keeper(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kinesis-keeper")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn help_lists_the_commands_that_exist() {
    let output = keeper(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let mut commands = vec!["run", "check", "status", "verify", "read", "replay", "put"];
    if cfg!(feature = "demo") {
        commands.push("demo");
    }
    commands.push("help");
    let text = stdout(&output);
    let listed = text.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let listed: Vec<&str> = listed.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(listed, commands, "{text}");
    assert!(text.contains("Exit codes:"), "{text}");
}

#[test]
fn every_commands_help_has_an_example() {
    let demo = cfg!(feature = "demo").then_some("demo");
    for command in ["run", "check", "status", "verify", "read", "replay", "put"].into_iter().chain(demo) {
        let output = keeper(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        let (_, examples) = text.split_once("Example").unwrap_or_else(|| panic!("no example: {text}"));
        assert!(examples.contains(&format!("kinesis-keeper {command} ")), "{text}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let output = keeper(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), format!("kinesis-keeper {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for wrong in [
        &[] as &[&str],
        &["run"],
        &["fly"],
        &["run", "a.toml", "b.toml"],
        &["--fast"],
        &["put"],
        &["check"],
        &["status", "a.toml", "--watch", "soon"],
        &["put", "s", "--rate", "0"],
        &["put", "s", "--null", "--envelope"],
        &["put", "s", "--partition-key", "k", "--partition-key-field", "f"],
        &["put", "s", "--buffer-time", "soon"],
        &["replay", "a.toml"],
        &["replay", "a.toml", "--to-stream", "s", "--rate", "0"],
        &["replay", "a.toml", "--to-stream", "s", "--from", "soon"],
    ] {
        let output = keeper(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(stdout(&output).is_empty(), "{wrong:?}");
        // A bad value is told without the usage.
        let told = ["Usage:", "For more information, try '--help'"]
            .iter()
            .any(|text| stderr(&output).contains(text));
        assert!(told, "{wrong:?}: {}", stderr(&output));
    }
}

#[test]
fn a_missing_file_is_exit_code_2_and_named() {
    let output = keeper(&["run", "/no/such/clickstream.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "kinesis-keeper: /no/such/clickstream.toml: cannot read the configuration file: \
         No such file or directory (os error 2)\n"
    );
    assert!(stdout(&output).is_empty());
}

#[test]
fn a_bad_file_is_exit_code_2_with_every_line_key_and_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clickstream.toml");
    let file = file.to_str().unwrap();
    let text = "[stream]\nname = \"clickstream\"\n[archive]\nbucket = \"my-archive\"\nformat = \"tape\"\n\
                [batch]\nmax_agee = \"5m\"\nmax_bytes = \"1 KiB\"\n";
    std::fs::write(file, text).unwrap();
    let output = keeper(&["run", file]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        format!(
            "kinesis-keeper: {file}:5: [archive] format = \"tape\" is not one of the choices; allowed: envelope, payload\n\
             kinesis-keeper: {file}:7: [batch] max_agee is not a known key; did you mean max_age?\n\
             kinesis-keeper: {file}:8: [batch] max_bytes = \"1 KiB\" is out of range; allowed: 64 KiB to 4 GiB\n"
        )
    );
    assert!(stdout(&output).is_empty());
}

#[cfg(feature = "demo")]
mod demo;
