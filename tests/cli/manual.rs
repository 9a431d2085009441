//! The package's manual pages and completions: made from the command line and the example configuration, and
//! kept in `debian/` so that neither the program nor the package's build needs what makes them.
//!
//! To write them anew: `KEEPER_WRITE_MANUAL=1 cargo test --test cli manual`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use kinesis_keeper::commands::Cli;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The command line of the package: without the demo, which it does not have.
fn command() -> Command {
    let whole = Cli::command();
    let packaged = whole.get_subcommands().filter(|command| command.get_name() != "demo").cloned();
    Command::new("kinesis-keeper")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .after_help(whole.get_after_help().cloned().unwrap_or_default())
        .subcommand_required(true)
        .disable_help_subcommand(true)
        .subcommands(packaged)
}

fn generated() -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(command(), folder.path()).unwrap();
    let mut files = BTreeMap::new();
    for page in fs::read_dir(folder.path()).unwrap() {
        let page = page.unwrap();
        let name = page.file_name().into_string().unwrap();
        let mut text = fs::read_to_string(page.path()).unwrap();
        if name == "kinesis-keeper.1" {
            text.push_str(MORE);
        }
        files.insert(format!("debian/man/{name}"), text);
    }
    files.insert("debian/man/kinesis-keeper.toml.5".to_owned(), config_page());
    for (shell, name) in [
        (Shell::Bash, "kinesis-keeper"),
        (Shell::Zsh, "_kinesis-keeper"),
        (Shell::Fish, "kinesis-keeper.fish"),
    ] {
        let mut text = Vec::new();
        generate(shell, &mut command(), "kinesis-keeper", &mut text);
        files.insert(format!("debian/completions/{name}"), String::from_utf8(text).unwrap());
    }
    files
}

const MORE: &str = r#".SH FILES
.TP
.I /etc/kinesis\-keeper/INSTANCE.toml
The configuration of kinesis\-keeper@INSTANCE.service; see
.BR kinesis\-keeper.toml (5).
.TP
.I /var/lib/kinesis\-keeper/STREAM
The state directory: batches that wait for S3, checkpoints, notices that wait, local copies.
.TP
.I /usr/share/doc/kinesis\-keeper/OPERATIONS.md
Installing, upgrading, moving, outages, capacity, and what to do about every error in the log.
.SH SEE ALSO
.BR kinesis\-keeper.toml (5),
.BR systemctl (1)
"#;

/// kinesis-keeper.toml(5), from the example that explains every key.
fn config_page() -> String {
    let example = fs::read_to_string(project("config/kinesis-keeper.toml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH KINESIS-KEEPER.TOML 5 \"\" \"kinesis-keeper {version}\" \"\"\n.SH NAME\n\
         kinesis\\-keeper.toml \\- the configuration of Kinesis Keeper\n.SH DESCRIPTION\n"
    );
    let mut comment = Vec::new();
    let mut lines = example.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
            // The comment that opens the file, before any section.
            if !page.contains(".SH SECTION") && lines.peek().is_some_and(|next| next.is_empty()) {
                paragraph(&std::mem::take(&mut comment), &mut page);
            }
        } else if line.starts_with('[') {
            writeln!(page, ".SH SECTION {}", escape(line)).unwrap();
            paragraph(&std::mem::take(&mut comment), &mut page);
        } else if let Some((setting, beside)) = setting(line) {
            writeln!(page, ".TP\n\\fB{}\\fR", escape(setting)).unwrap();
            comment.extend(beside);
            if comment.is_empty() {
                page.push_str("As the section says.\n");
            }
            paragraph(&std::mem::take(&mut comment), &mut page);
        }
    }
    page.push_str(
        ".SH FILES\n.I /usr/share/doc/kinesis\\-keeper/examples/kinesis\\-keeper.toml\n.SH SEE ALSO\n.BR kinesis\\-keeper (1)\n",
    );
    page
}

/// `key = value   # comment`, its two parts.
fn setting(line: &str) -> Option<(&str, Option<&str>)> {
    let (key, value) = line.split_once(" = ")?;
    let end = value.strip_prefix('"').and_then(|rest| rest.find('"')).map_or(0, |end| end + 2);
    let beside = value[end..].find('#').map(|at| end + at);
    let text = beside.map(|at| value[at + 1..].trim());
    let value = value[..beside.unwrap_or(value.len())].trim_end();
    Some((&line[..key.len() + 3 + value.len()], text))
}

fn paragraph(lines: &[&str], page: &mut String) {
    for line in lines {
        let text = escape(line);
        // A line that begins with a dot or a quote would be a request.
        let guard = if text.starts_with(['.', '\'']) { "\\&" } else { "" };
        writeln!(page, "{}", if text.is_empty() { ".PP".to_owned() } else { format!("{guard}{text}") })
            .unwrap();
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[test]
fn the_packages_manual_and_completions_are_up_to_date() {
    let write = std::env::var_os("KEEPER_WRITE_MANUAL").is_some();
    for (path, text) in generated() {
        assert!(!text.contains("demo"), "{path} tells of the demo, which the package does not have");
        if write {
            fs::create_dir_all(project(&path).parent().unwrap()).unwrap();
            fs::write(project(&path), &text).unwrap();
        }
        let kept = fs::read_to_string(project(&path)).unwrap_or_default();
        assert_eq!(kept, text, "{path} is out of date: KEEPER_WRITE_MANUAL=1 cargo test --test cli manual");
    }
}

#[test]
fn the_configurations_page_tells_of_every_key() {
    let page = config_page();
    let example = fs::read_to_string(project("config/kinesis-keeper.toml")).unwrap();
    for line in example.lines().filter(|line| !line.starts_with('#')) {
        let named = line.split(" = ").next().unwrap().trim();
        assert!(page.contains(&escape(named)), "{named}");
    }
    assert!(page.contains(".TP\n\\fBmax_records = 1_000_000\\fR\n"), "{page}");
    assert!(
        page.contains(".TP\n\\fBmax_bytes = \"128 MiB\"\\fR\nbefore compression; 64 KiB to 4 GiB\n"),
        "{page}"
    );
}
