//! What is printed and written: medians, ratios to the limit, comparisons round by round.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::bar;
use super::family::{Better, Comparison, Family, Metric};
use super::rounds::Row;

/// A spread, (max - min) / median, beyond which a figure is marked as noisy.
const NOISY: f64 = 0.6;

/// The tables of a family, its comparisons, and what went wrong.
pub(crate) fn render(family: &Family, rows: &[Row]) -> String {
    let rounds = rows.iter().flat_map(|row| row.samples.values().map(Vec::len)).max().unwrap_or(0);
    let mut text = format!(
        "{}: medians of {rounds} interleaved round(s); (k x) = k times worse than {}, below 1 is \
         better; ~ = (max - min) / median over {:.0} %\n",
        family.name,
        family.limit,
        NOISY * 100.0,
    );
    for metrics in family.metrics.chunks(family.columns) {
        let table = cells(family, metrics, rows);
        if table.len() > 1 {
            text.push('\n');
            text.push_str(&align(&table));
        }
    }
    text.push('\n');
    for (comparison, metric) in pairs(family) {
        if let Some(line) = comparison_line(comparison, metric, rows) {
            text.push_str(&line);
        }
    }
    text.push_str(&bar::lines(family, rows));
    let foreign: Vec<f64> = rows.iter().flat_map(|row| row.foreign.iter().copied()).collect();
    if let Some(middle) = median(&foreign) {
        let worst = foreign.iter().copied().fold(0.0, f64::max);
        let (middle, worst) = (middle * 100.0, worst * 100.0);
        text.push_str(&format!(
            "other work took {middle:.0} % of the machine in the median run, {worst:.0} % in the \
             worst\n"
        ));
    }
    for problem in rows.iter().flat_map(|row| &row.problems) {
        text.push_str(&format!("FAILED: {problem}\n"));
    }
    text
}

/// The same figures for programs: one object for each contender and metric, and one for each
/// comparison.
pub(crate) fn json(family: &Family, rows: &[Row]) -> String {
    let mut list = Vec::new();
    for row in rows {
        for metric in &family.metrics {
            let values = row.samples.get(&metric.name).map_or(&[][..], Vec::as_slice);
            list.extend(entry(family, row.name, metric, metric.unit, values));
        }
    }
    for (comparison, metric) in pairs(family) {
        let contender = format!("{} / {}", comparison.subject, comparison.against);
        let values = ratios(comparison, metric, rows);
        list.extend(entry(family, &contender, metric, "ratio", &values));
    }
    list.extend(bar::entries(family, rows));
    let mut text = Value::Array(list).to_string().replace("},{", "},\n{");
    text.push('\n');
    text
}

fn entry(
    family: &Family,
    contender: &str,
    metric: &Metric,
    unit: &str,
    rounds: &[Option<f64>],
) -> Option<Value> {
    let median = median_of(rounds)?;
    Some(json!({
        "family": family.name,
        "case": metric.name,
        "contender": contender,
        "unit": unit,
        "better": metric.better.name(),
        "median": median,
        "rounds": rounds,
    }))
}

/// Header and rows as text, cell by cell. Rows without a figure in this part are left out.
fn cells(family: &Family, metrics: &[Metric], rows: &[Row]) -> Vec<Vec<String>> {
    let limit = rows.iter().find(|row| row.name == family.limit);
    let header = metrics.iter().map(|metric| format!("{} {}", metric.name, metric.unit));
    let mut table = vec![std::iter::once("contender".to_owned()).chain(header).collect()];
    for row in rows {
        let figures: Vec<Option<String>> =
            metrics.iter().map(|metric| cell(metric, row, limit)).collect();
        if figures.iter().any(Option::is_some) {
            let figures = figures.into_iter().map(|figure| figure.unwrap_or_else(|| "-".into()));
            table.push(std::iter::once(row.name.to_owned()).chain(figures).collect());
        }
    }
    table
}

fn cell(metric: &Metric, row: &Row, limit: Option<&Row>) -> Option<String> {
    let rounds = row.samples.get(&metric.name)?;
    let value = median_of(rounds)?;
    let mut text = short(value);
    if spread(rounds) > NOISY {
        text.push('~');
    }
    let limit_value = limit.and_then(|limit| median_of(limit.samples.get(&metric.name)?));
    match limit_value {
        Some(_) if limit.is_some_and(|limit| limit.name == row.name) => text.push_str(" (limit)"),
        Some(limit_value) => {
            let times = match metric.better {
                Better::Lower => value / limit_value,
                Better::Higher => limit_value / value,
            };
            write!(text, " ({} x)", short(times)).ok()?;
        }
        None => {}
    }
    Some(text)
}

/// A table that reads well on a terminal and is Markdown too.
fn align(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, row) in table.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let line = if column == 0 {
                format!("| {cell:<width$} ")
            } else {
                format!("| {cell:>width$} ")
            };
            text.push_str(&line);
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let rule = "-".repeat(width + 1);
                let line = if column == 0 { format!("|{rule}-") } else { format!("|{rule}:") };
                text.push_str(&line);
            }
            text.push_str("|\n");
        }
    }
    text
}

fn pairs(family: &Family) -> impl Iterator<Item = (&Comparison, &Metric)> {
    family.comparisons.iter().flat_map(|comparison| {
        let compared =
            family.metrics.iter().filter(|metric| comparison.metrics.contains(&metric.name));
        compared.map(move |metric| (comparison, metric))
    })
}

fn comparison_line(comparison: &Comparison, metric: &Metric, rows: &[Row]) -> Option<String> {
    let all = ratios(comparison, metric, rows);
    let ratio = median_of(&all)?;
    let (least, most) = range(&all)?;
    let side = if metric.better == Better::Lower { "below" } else { "above" };
    Some(format!(
        "{} / {}: {} {ratio:.3} (median of {} per-round ratio(s), {least:.3}..{most:.3}; {side} 1 \
         is better)\n",
        comparison.subject,
        comparison.against,
        metric.name,
        all.iter().flatten().count(),
    ))
}

/// Subject by object, round by round; a round counts only if both gave a figure.
fn ratios(comparison: &Comparison, metric: &Metric, rows: &[Row]) -> Vec<Option<f64>> {
    let rounds = |name: &str| {
        let row = rows.iter().find(|row| row.name == name)?;
        row.samples.get(&metric.name)
    };
    let (Some(subject), Some(against)) = (rounds(comparison.subject), rounds(comparison.against))
    else {
        return Vec::new();
    };
    let ratio = |(one, other): (&Option<f64>, &Option<f64>)| {
        Some((*one)? / (*other)?).filter(|ratio| ratio.is_finite())
    };
    subject.iter().zip(against).map(ratio).collect()
}

pub(crate) fn median_of(rounds: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = rounds.iter().flatten().copied().collect();
    median(&known)
}

/// The middle value, or the mean of the two middle ones.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

/// The least and the most; nothing when no round gave anything.
pub(crate) fn range(rounds: &[Option<f64>]) -> Option<(f64, f64)> {
    let known = || rounds.iter().flatten().copied();
    Some((known().reduce(f64::min)?, known().reduce(f64::max)?))
}

fn spread(rounds: &[Option<f64>]) -> f64 {
    let width = range(rounds).map_or(0.0, |(least, most)| most - least);
    median_of(rounds).filter(|median| *median > 0.0).map_or(0.0, |median| width / median)
}

/// Three digits that matter, in thousands or millions where that is shorter.
pub(crate) fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{scaled:.decimals$}{suffix}")
}

#[cfg(test)]
mod tests;
