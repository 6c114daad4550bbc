//! Parts of blocks: confirmations, charts, and the rich texts of tasks.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Check;

type Part = Map<String, Value>;

const PLAIN: &[&str] = &["plain_text"];
/// Kinds of runs in a rich text.
const RUNS: [&str; 10] =
    ["broadcast", "channel", "color", "date", "emoji", "link", "team", "text", "user", "usergroup"];

impl Check {
    pub(super) fn confirm(&mut self, confirm: &Part, at: &str) {
        self.only(confirm, at, &["title", "text", "confirm", "deny", "style"], &[]);
        self.text(confirm, "title", at, 100, PLAIN, true);
        self.text(confirm, "text", at, 300, &["plain_text", "mrkdwn"], true);
        self.text(confirm, "confirm", at, 30, PLAIN, true);
        self.text(confirm, "deny", at, 30, PLAIN, true);
        self.one_of(confirm, "style", at, &["primary", "danger"]);
    }

    /// The chart of a data_visualization.
    pub(super) fn chart(&mut self, block: &Part, at: &str) {
        let Some(chart) = block.get("chart").and_then(Value::as_object) else {
            return self.error("missing required field: chart", at);
        };
        let at = &format!("{at}/chart");
        match chart.get("type").and_then(Value::as_str) {
            Some("pie") => {
                self.only(chart, at, &["type", "segments"], &[]);
                for (segment, at) in self.list(chart, "segments", at, 12) {
                    if self.point(segment, &at).is_some_and(|value| value <= 0.0) {
                        self.error("must be more than 0", &format!("{at}/value"));
                    }
                }
            }
            Some("area" | "bar" | "line") => self.axes(chart, at),
            _ => self.error("must be one of: pie, bar, area, line", &format!("{at}/type")),
        }
    }

    fn axes(&mut self, chart: &Part, at: &str) {
        self.only(chart, at, &["type", "series", "axis_config"], &[]);
        let mut wanted = BTreeSet::new();
        if let Some(axis) = chart.get("axis_config").and_then(Value::as_object) {
            let at = format!("{at}/axis_config");
            self.only(axis, &at, &["categories", "x_label", "y_label"], &[]);
            self.string(axis, "x_label", &at, 50, false);
            self.string(axis, "y_label", &at, 50, false);
            for (category, at) in self.list(axis, "categories", &at, 20) {
                let text = category.as_str().unwrap_or_default();
                if text.is_empty() || text.chars().count() > 20 || !wanted.insert(text) {
                    self.error("must be a unique text of 1 to 20 characters", &at);
                }
            }
        } else {
            self.error("missing required field: axis_config", at);
        }
        let mut names = BTreeSet::new();
        for (series, at) in self.list(chart, "series", at, 12) {
            let Some(series) = series.as_object() else {
                self.error("must be an object", &at);
                continue;
            };
            self.only(series, &at, &["name", "data"], &[]);
            self.string(series, "name", &at, 20, true);
            if !names.insert(series.get("name").and_then(Value::as_str)) {
                self.error("name already exists", &format!("{at}/name"));
            }
            let points = self.list(series, "data", &at, 20);
            let mut labels = BTreeSet::new();
            for (point, at) in &points {
                self.point(point, at);
                labels.extend(point["label"].as_str());
            }
            if labels != wanted || points.len() != wanted.len() {
                self.error("must have one point for each category", &format!("{at}/data"));
            }
        }
    }

    /// A label with a number; returns the number.
    fn point(&mut self, point: &Value, at: &str) -> Option<f64> {
        let Some(object) = point.as_object() else {
            self.error("must be an object", at);
            return None;
        };
        self.only(object, at, &["label", "value"], &[]);
        self.string(object, "label", at, 20, true);
        if point["label"] == "" {
            self.error("must be more than 0 characters", &format!("{at}/label"));
        }
        let value = point["value"].as_f64();
        if value.is_none() {
            self.error("must be a number", &format!("{at}/value"));
        }
        value
    }

    /// The rich text of a task.
    pub(super) fn rich_text(&mut self, text: &Value, at: &str) {
        let Some(object) = text.as_object().filter(|_| text["type"] == "rich_text") else {
            return self.error("must be one of: rich_text", &format!("{at}/type"));
        };
        for (part, at) in self.list(object, "elements", at, usize::MAX) {
            let kind = part["type"].as_str().unwrap_or_default();
            match (kind, part.as_object()) {
                ("rich_text_list", Some(list)) => {
                    self.one_of(list, "style", &at, &["bullet", "ordered"]);
                    for (item, at) in self.list(list, "elements", &at, usize::MAX) {
                        match item.as_object().filter(|_| item["type"] == "rich_text_section") {
                            Some(section) => self.runs(section, &at),
                            None => self.error("must be one of: rich_text_section", &at),
                        }
                    }
                }
                (
                    "rich_text_section" | "rich_text_quote" | "rich_text_preformatted",
                    Some(section),
                ) => self.runs(section, &at),
                _ => self.error(&format!("unsupported type: {kind}"), &format!("{at}/type")),
            }
        }
    }

    fn runs(&mut self, section: &Part, at: &str) {
        for (run, at) in self.list(section, "elements", at, usize::MAX) {
            let kind = run["type"].as_str().unwrap_or_default();
            let Some(object) = run.as_object().filter(|_| RUNS.contains(&kind)) else {
                self.error(&format!("unsupported type: {kind}"), &format!("{at}/type"));
                continue;
            };
            if kind == "text" {
                self.string(object, "text", &at, usize::MAX, true);
                if run["text"] == "" {
                    self.error("must be more than 0 characters", &format!("{at}/text"));
                }
            }
            if kind == "link" {
                self.url(object, "url", &at, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::blocks::{Surface, problems};

    fn plain(length: usize) -> Value {
        json!({ "type": "plain_text", "text": "x".repeat(length) })
    }

    fn confirmed(confirm: &Value) -> Value {
        let button = json!({ "type": "button", "text": plain(1), "confirm": confirm });
        json!({ "type": "actions", "elements": [button] })
    }

    fn chart(chart: &Value) -> Value {
        json!({ "type": "data_visualization", "title": "t", "chart": chart })
    }

    fn bars(series: &Value) -> Value {
        let axis = json!({ "categories": ["a", "b"], "x_label": "x" });
        chart(&json!({ "type": "bar", "series": series, "axis_config": axis }))
    }

    fn task(key: &str, value: &Value) -> Value {
        let mut task =
            json!({ "type": "task_card", "task_id": "1", "title": "a", "status": "error" });
        task[key] = value.clone();
        task
    }

    fn rich(run: &Value) -> Value {
        let section = json!({ "type": "rich_text_section", "elements": [run] });
        json!({ "type": "rich_text", "elements": [section] })
    }

    #[test]
    fn parts_are_taken() {
        let confirm = json!({ "title": plain(100), "text": plain(300), "confirm": plain(30),
            "deny": plain(30), "style": "danger" });
        let data = json!([{ "label": "b", "value": -1 }, { "label": "a", "value": 0.5 }]);
        let list = json!({ "type": "rich_text", "elements": [{ "type": "rich_text_list",
            "style": "bullet", "elements": rich(&json!({ "type": "text", "text": " " }))
                ["elements"] }] });
        for good in [
            confirmed(&confirm),
            chart(&json!({ "type": "pie", "segments": [{ "label": "a", "value": 1 }] })),
            bars(&json!([{ "name": "s", "data": data }])),
            task("details", &rich(&json!({ "type": "link", "url": "https://x.test/" }))),
            task("output", &list),
            task("sources", &json!([{ "type": "url", "url": "https://x.test/", "text": "s" }])),
        ] {
            let found = problems(std::slice::from_ref(&good), Surface::Message);
            assert!(found.is_empty(), "{good}: {found:?}");
        }
    }

    #[test]
    fn parts_are_checked() {
        let confirm = |key: &str, value: Value| {
            let mut confirm = json!({ "title": plain(1), "text": plain(1), "confirm": plain(1),
                "deny": plain(1) });
            confirm[key] = value;
            confirmed(&confirm)
        };
        let pie = |segment: Value| chart(&json!({ "type": "pie", "segments": [segment] }));
        let one = json!([{ "label": "a", "value": 1 }]);
        let both = json!([{ "label": "a", "value": 1 }, { "label": "b", "value": 1 }]);
        let text = |text: &str| rich(&json!({ "type": "text", "text": text }));
        for (bad, said) in [
            (confirm("title", plain(101)), "less than 101"),
            (confirm("text", plain(301)), "less than 301"),
            (confirm("confirm", plain(31)), "less than 31"),
            (confirm("deny", Value::Null), "deny"),
            (confirm("style", "loud".into()), "one of: primary, danger"),
            (confirm("colour", "red".into()), "invalid additional property"),
            (chart(&json!({ "type": "donut" })), "one of: pie"),
            (pie(json!({ "label": "x".repeat(21), "value": 1 })), "less than 21"),
            (pie(json!({ "label": "a", "value": "1" })), "a number"),
            (pie(json!({ "label": "a", "value": 0 })), "more than 0"),
            (bars(&json!([{ "name": "s", "data": one }])), "one point for each category"),
            (bars(&json!(vec![json!({ "name": "s", "data": both }); 2])), "already exists"),
            (bars(&json!(vec![1; 13])), "no more than 12"),
            (task("status", &"pending".into()), "outside of a plan"),
            (task("output", &plain(1)), "one of: rich_text"),
            (task("output", &text("")), "more than 0 characters"),
            (task("details", &rich(&json!({ "type": "link", "url": "x" }))), "invalid url"),
            (task("details", &rich(&json!({ "type": "marquee" }))), "unsupported type"),
            (task("sources", &json!([{ "type": "url", "text": "s" }])), "field: url"),
            (task("sources", &json!([])), "at least 1"),
        ] {
            let found = problems(&[bad], Surface::Message);
            assert!(found.iter().any(|problem| problem.contains(said)), "{said}: {found:?}");
        }
        let pie = pie(json!({ "label": "a", "value": 1 }));
        let three = problems(&vec![pie; 3], Surface::Message);
        assert!(three[0].contains("no more than 2 data_visualization"), "{three:?}");
        let task = task("status", &"pending".into());
        let plan = json!({ "type": "plan", "title": "p", "tasks": [task, task] });
        let twice = problems(&[plan], Surface::Message);
        assert!(twice.len() == 1 && twice[0].contains("`task_id` already exists"), "{twice:?}");
    }
}
