//! Where `tracing` events go: standard error or syslog, as text or JSON.
//!
//! Owns how an entry is written and which entries are. Settings can be changed while running: a second
//! [`start`] takes the place of the first. Writing an entry never panics, and never waits for syslog.

mod entry;
mod sink;

#[cfg(test)]
mod tests;

use std::sync::{PoisonError, RwLock};

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use self::entry::{Entry, Fields};
use self::sink::Sink;
use crate::config::{Log, LogLevel};
use crate::error::Failure;

/// The modules that are ours; all others are heard from [`FOREIGN`] on, so that no secret out of an SDK's
/// inner life is ever written.
const OURS: &str = "kinesis_keeper";
const FOREIGN: LevelFilter = LevelFilter::WARN;

/// Sends the log where `config` says, from now on; an earlier start's settings are replaced.
///
/// Fails, and leaves the earlier settings as they are, if syslog is wanted and cannot be reached.
pub fn start(config: &Log) -> Result<(), Failure> {
    start_at(config, sink::SYSLOG)
}

fn start_at(config: &Log, syslog: &str) -> Result<(), Failure> {
    let sink = Sink::new(config, syslog)?;
    let level = filter(config.level);
    let replaced = tracing::dispatcher::get_default(|running| {
        let journal = running.downcast_ref::<Journal>()?;
        *journal.settings.write().unwrap_or_else(PoisonError::into_inner) =
            Settings { level, sink: Sink::clone(&sink) };
        Some(())
    });
    if replaced.is_none() {
        let journal = Journal { settings: RwLock::new(Settings { level, sink }) };
        let subscriber = tracing_subscriber::registry().with(journal);
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|_| Failure::failed("the log was started by something else already"))?;
    }
    // Which call sites are of interest was decided by the earlier level.
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Takes every event, and the settings of the moment.
struct Journal {
    settings: RwLock<Settings>,
}

struct Settings {
    level: LevelFilter,
    sink: Sink,
}

impl Journal {
    fn level(&self) -> LevelFilter {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).level
    }

    fn hears(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with(OURS);
        let least = if ours { self.level() } else { self.level().min(FOREIGN) };
        *metadata.level() <= least
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Journal {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.hears(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().replace(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(more) = span.extensions().get::<Fields>() {
                fields.extend(more);
            }
        }
        // The event's own fields come first: they win over those of its spans.
        let mut own = Fields::default();
        event.record(&mut own);
        own.extend(&fields);
        let metadata = event.metadata();
        let foreign = (!metadata.target().starts_with(OURS)).then(|| metadata.target());
        let entry = Entry { level: *metadata.level(), foreign, fields: own };
        let sink = self.settings.read().unwrap_or_else(PoisonError::into_inner).sink.clone();
        sink.write(&entry);
    }
}
