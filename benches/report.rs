//! How a bench tells its figures: each as a line of JSON, then all of them as a table.

use std::fmt::Write as _;

/// One figure, with what it should be.
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    goal: String,
}

/// Figures in the order in which they were taken.
#[derive(Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// Takes a figure, and prints it as a line of JSON.
    pub fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: impl Into<String>) {
        let row = Row {
            what: what.into(),
            value,
            unit,
            goal: goal.into(),
        };
        let json = serde_json::json!({ "what": row.what, "value": row.value, "unit": row.unit, "goal": row.goal });
        println!("{json}");
        self.0.push(row);
    }

    /// All of them for people.
    pub fn table(&self) -> String {
        let mut out = format!("\n{:<58} {:>12} {:<6} goal\n", "what", "measured", "");
        for Row {
            what,
            value,
            unit,
            goal,
        } in &self.0
        {
            let _ = writeln!(out, "{what:<58} {value:>12.3} {unit:<6} {goal}");
        }
        out
    }
}
