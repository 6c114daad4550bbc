//! Slack's rules about the parts of a block together. All of these parts are literal, so a
//! template that breaks a rule breaks it with any data.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Problem;
use super::kit::FieldPlace;

/// Adds the problems of a block.
pub(super) fn check(block: &Value, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    match block["type"].as_str() {
        Some("task_card") if block["status"] == "pending" => {
            let problem = "must not be pending: only a task of a plan may be";
            problems.push(place.at("status").problem(problem));
        }
        Some("plan") => unique(&block["tasks"], "task_id", &place.at("tasks"), problems),
        Some("data_visualization") => chart(&block["chart"], &place.at("chart"), problems),
        _ => {}
    }
}

fn chart(chart: &Value, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    for (index, segment) in list(&chart["segments"]).iter().enumerate() {
        if segment["value"].as_f64().is_some_and(|value| value <= 0.0) {
            let place = place.at("segments").nth(index).at("value");
            problems.push(place.problem("must be more than 0"));
        }
    }
    let series = place.at("series");
    unique(&chart["series"], "name", &series, problems);
    let categories = list(&chart["axis_config"]["categories"]);
    let wanted: BTreeSet<&str> = categories.iter().filter_map(Value::as_str).collect();
    if wanted.len() < categories.len() {
        let place = place.at("axis_config").at("categories");
        problems.push(place.problem("must be texts, each another one"));
    }
    for (index, one) in list(&chart["series"]).iter().enumerate() {
        let points = list(&one["data"]);
        let labels: BTreeSet<&str> = points.iter().filter_map(|it| it["label"].as_str()).collect();
        let always = points.iter().all(|point| point.get("if").is_none());
        if labels != wanted || points.len() != wanted.len() || !always {
            let problem = "must have one point for each of the categories, without an `if`";
            problems.push(series.nth(index).at("data").problem(problem));
        }
    }
}

/// The texts under this key must be unique in the list.
fn unique(items: &Value, key: &str, place: &FieldPlace<'_>, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (index, item) in list(items).iter().enumerate() {
        if item[key].as_str().is_some_and(|text| !seen.insert(text)) {
            problems.push(place.nth(index).at(key).problem("must be unique"));
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The problems of a block, without the part of their names that all have.
    fn problems(block: &Value) -> Vec<String> {
        let source = json!([block]).to_string();
        let place = FieldPlace { source: &source, field: "blocks[0]".into() };
        let mut problems = Vec::new();
        check(block, &place, &mut problems);
        let shown = |problem: &Problem| problem.to_string().replace("blocks[0].", "");
        problems.iter().map(shown).collect()
    }

    fn task(status: &str) -> Value {
        json!({"type": "task_card", "task_id": "1", "title": "a", "status": status})
    }

    fn bars(series: &Value, categories: &[&str]) -> Value {
        let axis = json!({"categories": categories});
        let chart = json!({"type": "bar", "series": series, "axis_config": axis});
        json!({"type": "data_visualization", "title": "t", "chart": chart})
    }

    #[test]
    fn only_a_task_of_a_plan_may_be_pending() {
        let refused = ["status must not be pending: only a task of a plan may be"];
        assert_eq!(problems(&task("pending")), refused);
        assert!(problems(&task("complete")).is_empty());
        let plan = |tasks: &[Value]| json!({"type": "plan", "title": "p", "tasks": tasks});
        assert!(problems(&plan(&[task("pending")])).is_empty());
        let twice = problems(&plan(&[task("pending"), task("error")]));
        assert_eq!(twice, ["tasks[1].task_id must be unique"]);
    }

    #[test]
    fn a_pie_has_no_empty_segments() {
        let segment = |value: f64| json!({"label": "a", "value": value});
        let chart = json!({"type": "pie", "segments": [segment(0.5), segment(0.0)]});
        let pie = json!({"type": "data_visualization", "title": "t", "chart": chart});
        assert_eq!(problems(&pie), ["chart.segments[1].value must be more than 0"]);
    }

    #[test]
    fn each_series_has_a_point_for_each_category() {
        let point = |label: &str| json!({"label": label, "value": -1});
        let series = |name: &str, data: &[Value]| json!({"name": name, "data": data});
        let both = [point("b"), point("a")];
        let good = bars(&json!([series("x", &both), series("y", &both)]), &["a", "b"]);
        assert!(problems(&good).is_empty(), "{:?}", problems(&good));
        let unsure = json!({"label": "a", "value": 1, "if": "x"});
        let refused = "must have one point for each of the categories, without an `if`";
        for data in [&both[..1], &[point("a"), point("c")], &[unsure, point("b")]] {
            let one = problems(&bars(&json!([series("x", data)]), &["a", "b"]));
            assert_eq!(one, [format!("chart.series[0].data {refused}")], "{data:?}");
        }
        let same = bars(&json!([series("x", &both), series("x", &both)]), &["a", "b"]);
        assert_eq!(problems(&same), ["chart.series[1].name must be unique"]);
        let categories = problems(&bars(&json!([series("x", &both[1..])]), &["a", "a"]));
        assert_eq!(categories, ["chart.axis_config.categories must be texts, each another one"]);
    }
}
