//! What a check finds: a line each, and what is printed of them.

use std::io::{self, Write};

use serde::Serialize;

use crate::aws::check::{Refused, RefusedKind};

/// The version of the shape of `--json`.
const VERSION: u32 = 1;

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// `run` works, and somebody should know.
    Warning,
    /// A permission that `run` needs is missing.
    Missing,
    /// Something else that `run` needs is not there.
    Failed,
    /// It was not tried, or only `check` would need to know.
    Unknown,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Missing => "MISSING",
            Self::Failed => "FAILED",
            Self::Unknown => "unknown",
        }
    }

    const fn is_in_the_way(self) -> bool {
        matches!(self, Self::Missing | Self::Failed)
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is about: `aws`, `stream`, `bucket`, `notices`, `metrics`, `disk`, `machine`.
    pub about: &'static str,
    /// What was tried.
    pub what: &'static str,
    /// What became of it.
    pub result: Verdict,
    /// What was found, or why it is not ok and what to do.
    pub said: String,
    /// The IAM action that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// On what it must be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

/// What a call needs in a policy.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// The IAM action.
    pub action: &'a str,
    /// The ARN.
    pub resource: &'a str,
}

/// All lines, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Vec<Line>,
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    ok: bool,
    stream: &'a str,
    archive: &'a str,
    checks: &'a [Line],
}

impl Lines {
    /// Adds a line.
    pub fn say(&mut self, about: &'static str, what: &'static str, result: Verdict, said: impl Into<String>) {
        self.lines.push(Line { about, what, result, said: said.into(), action: None, resource: None });
    }

    /// Adds what a refused call that `run` needs is to be told as.
    pub fn refuse(&mut self, about: &'static str, what: &'static str, need: Need<'_>, refused: &Refused) {
        if refused.kind != RefusedKind::Denied {
            return self.say(about, what, Verdict::Failed, refused.said.clone());
        }
        let Need { action, resource } = need;
        self.lines.push(Line {
            about,
            what,
            result: Verdict::Missing,
            said: format!("allow {action} on {resource}; {}", refused.said),
            action: Some(action.to_owned()),
            resource: Some(resource.to_owned()),
        });
    }

    /// How many stand in the way of `run`.
    pub fn in_the_way(&self) -> usize {
        self.lines.iter().filter(|line| line.result.is_in_the_way()).count()
    }

    /// Writes all of it, for people or for programs.
    pub fn print(&self, out: &mut dyn Write, (stream, archive): (&str, &str), json: bool) -> io::Result<()> {
        if json {
            let ok = self.in_the_way() == 0;
            let report = Report { version: VERSION, ok, stream, archive, checks: &self.lines };
            serde_json::to_writer_pretty(&mut *out, &report)?;
            return writeln!(out);
        }
        writeln!(out, "{stream} -> {archive}")?;
        let widest = self.lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
        for Line { about, what, result, said, .. } in &self.lines {
            // One line each, whatever a service says.
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            writeln!(out, "{:<8} {about:<8} {what:<widest$}  {said}", result.as_str())?;
        }
        match self.in_the_way() {
            0 => writeln!(out, "nothing stands in the way of run"),
            1 => writeln!(out, "1 of {} checks stands in the way of run", self.lines.len()),
            some => writeln!(out, "{some} of {} checks stand in the way of run", self.lines.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call_names_action_and_resource_and_others_say_why() {
        let mut lines = Lines::default();
        lines.say("bucket", "region", Verdict::Ok, "eu-central-1");
        lines.say("bucket", "versions", Verdict::Unknown, "not tried");
        let need = Need { action: "kinesis:GetRecords", resource: "arn:s" };
        let refused = |kind| Refused { kind, code: String::new(), said: "HTTP 403:\n no".into() };
        lines.refuse("stream", "GetRecords", need, &refused(RefusedKind::Denied));
        assert_eq!(lines.in_the_way(), 1);
        lines.refuse("stream", "ListShards", need, &refused(RefusedKind::Silent));
        assert_eq!(lines.in_the_way(), 2);
        let mut out = Vec::new();
        lines.print(&mut out, ("s", "s3://b/"), false).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "s -> s3://b/\n\
             ok       bucket   region      eu-central-1\n\
             unknown  bucket   versions    not tried\n\
             MISSING  stream   GetRecords  allow kinesis:GetRecords on arn:s; HTTP 403: no\n\
             FAILED   stream   ListShards  HTTP 403: no\n\
             2 of 4 checks stand in the way of run\n"
        );
        let mut out = Vec::new();
        lines.print(&mut out, ("s", "s3://b/"), true).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((report["ok"].as_bool(), report["version"].as_u64()), (Some(false), Some(1)));
        let denied = &report["checks"][2];
        assert_eq!(
            (denied["result"].as_str(), denied["action"].as_str()),
            (Some("missing"), Some("kinesis:GetRecords"))
        );
        assert_eq!(report["checks"][0].get("action"), None);
    }
}
