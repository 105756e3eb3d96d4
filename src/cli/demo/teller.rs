//! Tells the story: to a person, with progress on a terminal; or to a program, one JSON object a line.

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::story::Summary;

/// Where the story goes.
pub(super) struct Teller<'a> {
    json: bool,
    out: &'a mut dyn Write,
    progress: ProgressBar,
}

impl<'a> Teller<'a> {
    pub(super) fn new(json: bool, out: &'a mut dyn Write) -> Self {
        let progress = ProgressBar::hidden();
        Self { json, out, progress }
    }

    /// Something happened.
    pub(super) fn event(&mut self, name: &str, words: &str, facts: Value) -> std::io::Result<()> {
        self.progress.finish_and_clear();
        if !self.json {
            return self.write(&format!("● {words}"));
        }
        let mut object = json!({ "event": name });
        if let (Some(object), Value::Object(facts)) = (object.as_object_mut(), facts) {
            object.extend(facts);
        }
        self.write(&object.to_string())
    }

    /// A part of the story begins.
    pub(super) fn chapter(&mut self, title: &str) -> std::io::Result<()> {
        self.progress.finish_and_clear();
        self.line(&format!("── {title} ──\n"))
    }

    /// What somebody reads on the forge.
    pub(super) fn reads(&mut self, markdown: &str) -> std::io::Result<()> {
        if self.json {
            return Ok(());
        }
        for line in markdown.lines().filter(|line| !line.starts_with("<!--")) {
            self.write(&format!("  │ {line}"))?;
        }
        self.write("")
    }

    /// A plain line, for people only.
    pub(super) fn line(&mut self, words: &str) -> std::io::Result<()> {
        if self.json { Ok(()) } else { self.write(words) }
    }

    /// Something is waited for.
    pub(super) fn waits(&mut self, words: &str) {
        if self.json || !std::io::stderr().is_terminal() {
            return;
        }
        self.progress = ProgressBar::new_spinner();
        self.progress.set_message(words.to_owned());
        self.progress.enable_steady_tick(Duration::from_millis(100));
    }

    pub(super) fn summary(&mut self, summary: &Summary) -> std::io::Result<()> {
        let Summary {
            requests,
            provisioned,
            refused,
            failed,
            is_simulated,
            seconds,
        } = summary;
        let simulated = if *is_simulated { " (simulated)" } else { "" };
        if self.json {
            let object = json!({
                "event": "summary",
                "requests": requests,
                "provisioned": provisioned,
                "refused": refused,
                "failed": failed,
                "seconds": seconds,
            });
            return self.write(&object.to_string());
        }
        self.write(&format!(
            "{requests} merge requests: {provisioned} provisioned{simulated}, {refused} refused, {failed} failed, in {seconds:.1} s."
        ))
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }
}
