//! What operators are handed beside the program: dashboards and alarms name numbers that exist, the unit's times
//! fit the program's, and docs/OPERATIONS.md knows every error of the log.

use std::collections::BTreeSet;

use kinesis_keeper::metrics::families::{FAMILIES, Source as FamilySource};
use kinesis_keeper::supervisor::DRAIN;

use super::assert_none;
use super::source::{Source, read};

/// Parts of a message without which two entries could not be told apart need not be named.
const SHORTEST: usize = 12;

/// Messages that are put together elsewhere, and what then stands in them.
const TOLD: [(&str, &[&str]); 2] = [
    (
        "src/shard/worker.rs",
        &["failed on this disk", "reading pauses and goes on by itself", "its records are read again"],
    ),
    ("src/shard/rendering.rs", &["its records are read again"]),
];

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[test]
fn dashboards_and_alerts_name_numbers_that_exist() {
    let mut exist: BTreeSet<String> = BTreeSet::new();
    for family in &FAMILIES {
        exist.insert(family.open_metrics.to_owned());
        if family.open_metrics.ends_with("upload_seconds") {
            exist.extend(["_bucket", "_count", "_sum"].map(|end| format!("{}{end}", family.open_metrics)));
        }
    }
    let mut wrong = Vec::new();
    for path in ["deploy/grafana/dashboard.json", "deploy/prometheus/alerts.yml"] {
        let text = read(path);
        let named: BTreeSet<&str> = words(&text).filter(|word| word.starts_with("kinesis_keeper_")).collect();
        assert!(named.len() > 5, "{path} names {named:?}");
        wrong.extend(
            named.iter().filter(|name| !exist.contains(**name)).map(|name| format!("{path}: {name}")),
        );
    }
    let dashboard = read("deploy/grafana/dashboard.json");
    let missing = FAMILIES.iter().filter(|family| !dashboard.contains(family.open_metrics));
    wrong.extend(missing.map(|family| format!("no panel shows {}", family.open_metrics)));
    assert_none("numbers that do not exist, or are not shown", &wrong);
}

#[test]
fn the_page_says_how_many_numbers_cloudwatch_bills() {
    // Gauges of the stream have no shard; all others are each shard's, and the stream's besides.
    let of_a_shard =
        FAMILIES.iter().filter(|family| !matches!(family.source, FamilySource::Stream(_))).count();
    let (of_the_stream, page) = (FAMILIES.len(), read("docs/OPERATIONS.md"));
    let told = format!("{of_the_stream} for the stream and, with `per_shard`, {of_a_shard} a shard");
    assert!(page.contains(&told), "docs/OPERATIONS.md: {told}");
}

#[test]
fn alerts_send_to_what_the_page_says() {
    let (page, alerts) = (read("docs/OPERATIONS.md"), read("deploy/prometheus/alerts.yml"));
    let descriptions = alerts.lines().filter_map(|line| line.trim().strip_prefix("description: "));
    let named: Vec<&str> = descriptions.filter_map(|told| told.split('"').nth(1)).collect();
    assert_eq!(named.len(), alerts.matches("- alert: ").count(), "{named:?}");
    let wrong = named.into_iter().filter(|name| !page.contains(name)).map(str::to_owned);
    assert_none("what alerts refer to and docs/OPERATIONS.md does not have", &wrong.collect::<Vec<_>>());
}

#[test]
fn alarms_name_numbers_that_exist() {
    let template = read("deploy/aws/template.yaml");
    let named: Vec<&str> =
        template.lines().filter_map(|line| line.trim().strip_prefix("MetricName: ")).collect();
    assert_eq!(named, ["RetentionUsed", "DataFreshness", "Gaps", "ShardsRunning", "Errors", "Throttled"]);
    for name in named {
        assert!(FAMILIES.iter().any(|family| family.cloudwatch == name), "{name}");
    }
}

#[test]
fn alarms_send_to_what_the_page_says() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (page, template) = (words(&read("docs/OPERATIONS.md")), words(&read("deploy/aws/template.yaml")));
    let alarms = template.matches("Type: AWS::CloudWatch::Alarm ").count();
    let named: Vec<&str> =
        template.split("See OPERATIONS.md, \"").skip(1).filter_map(|told| told.split('"').next()).collect();
    assert_eq!(named.len(), alarms, "{named:?}");
    let wrong = named.into_iter().filter(|name| !page.contains(name)).map(str::to_owned);
    assert_none("what alarms refer to and docs/OPERATIONS.md does not have", &wrong.collect::<Vec<_>>());
}

#[test]
fn the_bucket_takes_the_puts_of_the_keeper_and_of_a_repair() {
    let template = read("deploy/aws/template.yaml");
    let (_, statement) = template.split_once("- Sid: NothingIsOverwrittenUnseen").unwrap();
    let (_, refused) = statement.split_once("\"Null\":").unwrap();
    // Refused is what has neither: the keys of one block hold together.
    let keys: Vec<&str> =
        refused.lines().skip(1).map(str::trim).take_while(|line| line.starts_with("s3:")).collect();
    assert_eq!(keys, ["s3:if-match: \"true\"", "s3:if-none-match: \"true\""]);
    let conditions = read("src/aws/s3/put.rs");
    assert!(conditions.contains(".if_none_match(\"*\")") && conditions.contains(".if_match("), "as puts say");
}

#[test]
fn the_policy_is_the_same_everywhere() {
    let actions = |text: &str| -> BTreeSet<String> {
        let services = ["kinesis", "s3", "sns", "cloudwatch"];
        let words = text.split(|c: char| c.is_whitespace() || "\",[]".contains(c));
        let is_action = |word: &&str| {
            word.split_once(':').is_some_and(|(service, action)| {
                services.contains(&service)
                    && action.starts_with(|c: char| c.is_ascii_uppercase())
                    && action.chars().all(|c| c.is_ascii_alphanumeric())
            })
        };
        words.filter(is_action).map(str::to_owned).collect()
    };
    let policy = actions(&read("deploy/aws/policy.json"));
    assert!(policy.len() >= 9, "{policy:?}");
    let template = read("deploy/aws/template.yaml");
    let (_, keeper) = template.split_once("\n  KeeperPolicy:").unwrap();
    assert_eq!(actions(keeper), policy);
}

#[test]
fn the_units_time_to_stop_fits_the_drain() {
    let unit = read("debian/kinesis-keeper@.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    let supervisor = read("deploy/supervisor/kinesis-keeper.conf");
    let wait = supervisor.lines().find_map(|line| line.strip_prefix("stopwaitsecs=")).unwrap();
    for seconds in [stop, wait] {
        // Calls in flight, the last metrics, the runtime's end: well under the half of the drain.
        assert!(seconds.parse::<u64>().unwrap() >= DRAIN.as_secs() * 3 / 2, "{seconds}");
    }
}

#[test]
fn the_unit_shows_the_keeper_how_busy_the_cores_are() {
    let unit = read("debian/kinesis-keeper@.service");
    assert!(read("src/supervisor/machine.rs").contains("\"/proc/stat\""));
    assert!(unit.lines().any(|line| line == "ProcSubset=all"), "`pid` hides /proc/stat");
}

#[test]
fn operations_knows_every_error_of_the_log() {
    let page = read("docs/OPERATIONS.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut wrong = Vec::new();
    let mut found = 0;
    for source in Source::all() {
        for message in errors(&source) {
            found += 1;
            let told = TOLD.iter().find(|(path, _)| *path == source.path);
            let parts: Vec<&str> = match told {
                Some((_, parts)) if message == "{told}" => parts.to_vec(),
                _ => message
                    .split(['{', '}'])
                    .step_by(2)
                    .map(|part| part.trim_matches([' ', ':', ';']))
                    .collect(),
            };
            let parts = parts.into_iter().filter(|part| part.len() >= SHORTEST).collect::<Vec<_>>();
            if parts.is_empty() || parts.iter().any(|part| !page.contains(part)) {
                wrong.push(format!("{}: `{message}`", source.path));
            }
        }
    }
    assert!(found > 15, "only {found} errors were found");
    assert_none("errors of the log without an entry in docs/OPERATIONS.md", &wrong);
}

/// The message of each `tracing::error!`: the last text within it.
fn errors(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.code().map(|(_, line)| line).collect();
    let text = lines.join("\n");
    let mut messages = Vec::new();
    for (at, _) in text.match_indices("tracing::error!(") {
        let call = arguments(&text[at + "tracing::error!(".len()..]);
        let mut parts = call.split('"').skip(1).step_by(2);
        let message = parts.by_ref().last().unwrap_or_default();
        // A text that goes on in the next line.
        let lines = message.split("\\\n").map(str::trim_start);
        messages.push(lines.collect::<String>());
    }
    messages
}

/// Up to the parenthesis that closes the call.
fn arguments(text: &str) -> &str {
    let (mut depth, mut quoted) = (1, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}
