//! The tables, and what ours must be.

use super::{Row, Said};

/// Within so many seconds a death is told.
const LATE: f64 = 0.010;

/// How many tasks a scene has, and which one ends its worker.
const TASKS: usize = 8;
const LETHAL: usize = 3;

/// All tables, in Markdown.
pub(super) fn print(rows: &[Row]) -> String {
    let mut text = "\n| one of 8 tasks ends its worker | outcome | wall (s) | told after (ms) | usable after? |\n|---|---|---:|---:|---|\n".to_owned();
    for row in rows {
        let first = &row.task[0];
        let cells = [outcome(first), word(first, "wall"), late(row), word(first, "usable")];
        push(&mut text, row, &cells);
    }
    text.push_str("\n| the initializer ends each worker | outcome | wall (s) | workers started |\n|---|---|---:|---:|\n");
    for row in rows {
        let said = &row.init;
        let cells = match said.contains_key("none") {
            true => ["it has none", "", ""].map(str::to_owned),
            false => [outcome(said), word(said, "wall"), word(said, "starts")],
        };
        push(&mut text, row, &cells);
    }
    text.push_str(
        "\n| Ctrl-C; the parent killed | exit after Ctrl-C (s) | lines on stderr / tracebacks | left 1 s after | orphans 4 s after SIGKILL of the parent | all gone (s) |\n|---|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let (said, orphan) = (&row.interrupt, &row.orphan);
        let lines = format!("{} / {}", word(said, "lines"), word(said, "traces"));
        let gone = match word(orphan, "orphans") == "0" {
            true => word(orphan, "gone"),
            false => "never".to_owned(),
        };
        let cells = [word(said, "exit"), lines, word(said, "left"), word(orphan, "orphans"), gone];
        push(&mut text, row, &cells);
    }
    text
}

fn push(text: &mut String, row: &Row, cells: &[String]) {
    let name = match row.is_ours {
        true => format!("**procession** {}", row.name),
        false => row.name.clone(),
    };
    text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
}

/// The only word that was said under that name.
fn word(said: &Said, name: &str) -> String {
    let nothing = if said.contains_key("hung") { "hung" } else { "–" };
    said.get(name).and_then(|words| words.first()).map_or(nothing, String::as_str).to_owned()
}

/// What became of the tasks, in their order.
fn outcomes(said: &Said) -> Vec<&str> {
    let lines = said.get("outcome").into_iter().flatten();
    lines.filter_map(|line| line.split_once(' ')).map(|(_place, what)| what).collect()
}

/// The same in few words: runs of equal ones.
fn outcome(said: &Said) -> String {
    let outcomes = outcomes(said);
    let Some(first) = outcomes.first() else { return word(said, "said") };
    if outcomes.iter().all(|one| one == first) {
        return format!("{} × {first}", outcomes.len());
    }
    let mut parts = Vec::new();
    let ok = outcomes.iter().filter(|one| **one == "ok").count();
    if ok > 0 {
        parts.push(format!("{ok} results"));
    }
    let mut failed: Vec<(&str, Vec<String>)> = Vec::new();
    for (place, one) in outcomes.iter().enumerate().filter(|(_, one)| **one != "ok") {
        match failed.iter_mut().find(|(known, _)| known == one) {
            Some((_, places)) => places.push(format!("#{place}")),
            None => failed.push((one, vec![format!("#{place}")])),
        }
    }
    parts.extend(failed.into_iter().map(|(what, places)| format!("{}: {what}", places.join(" "))));
    parts.join("; ")
}

fn lates(row: &Row) -> Vec<f64> {
    let said = row.task.iter().filter_map(|said| said.get("late")?.first()?.parse().ok());
    let mut lates: Vec<f64> = said.collect();
    lates.sort_unstable_by(f64::total_cmp);
    lates
}

/// The middle of all, and the greatest.
fn late(row: &Row) -> String {
    let lates = lates(row);
    let milliseconds = |seconds: f64| format!("{:.2}", seconds * 1e3);
    match lates[..] {
        [] => "–".to_owned(),
        [one] => milliseconds(one),
        _ => {
            let most = lates.last().copied().unwrap_or_default();
            format!(
                "{} (most of {}: {})",
                milliseconds(lates[lates.len() / 2]),
                lates.len(),
                milliseconds(most)
            )
        }
    }
}

/// Whether ours lose one task only, tell of it in time, leave nobody, and say one line or none.
pub(super) fn check(rows: &[Row]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for row in rows.iter().filter(|row| row.is_ours) {
        let mut expect = |is_right: bool, what: &str| {
            if !is_right {
                wrong.push(format!("{}: {what}", row.name));
            }
        };
        for said in &row.task {
            let outcomes = outcomes(said);
            let is_right = |(place, what): (usize, &&str)| {
                *what == if place == LETHAL { "WorkerDied" } else { "ok" }
            };
            let all = outcomes.len() == TASKS && outcomes.iter().enumerate().all(is_right);
            expect(all, &format!("one task is lost and no other: {outcomes:?}"));
            expect(word(said, "usable") == "yes", "it is usable afterwards");
        }
        let most = lates(row).last().copied();
        expect(most.is_none_or(|most| most <= LATE), &format!("told within {LATE} s: {most:?}"));
        let init = outcomes(&row.init);
        let is_told = init.len() == TASKS && init.iter().all(|one| *one == "PoolBroken");
        expect(is_told, &format!("initializers that fail are told: {init:?}"));
        expect(word(&row.interrupt, "left") == "0", "nobody is left after Ctrl-C");
        let lines = if row.name.starts_with("exit_on_interrupt") { "1" } else { "0" };
        let said = word(&row.interrupt, "lines");
        expect(said == lines, &format!("{lines} lines after Ctrl-C: {said}"));
        expect(word(&row.orphan, "orphans") == "0", "no orphans");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    fn row(task: &str) -> Row {
        Row {
            name: "try_map".into(),
            is_ours: true,
            task: vec![read(task)],
            init: read(&(0..8).map(|at| format!("outcome {at} PoolBroken\n")).collect::<String>()),
            interrupt: read("exit 0.1\nlines 0\ntraces 0\nleft 0"),
            orphan: read("gone 0.01\norphans 0"),
        }
    }

    fn task(eighth: &str) -> String {
        let first: String = (0..7)
            .map(|at| format!("outcome {at} {}\n", if at == 3 { "WorkerDied" } else { "ok" }))
            .collect();
        format!("{first}outcome 7 {eighth}\nlate 0.002\nusable yes\nwall 0.2")
    }

    #[test]
    fn one_lost_task_is_right_and_two_are_not() {
        assert_eq!(check(&[row(&task("ok"))]), Ok(()));
        check(&[row(&task("WorkerDied"))]).unwrap_err();
        check(&[row(&task("ok").replace("0.002", "0.02"))]).unwrap_err();
        check(&[Row { orphan: read("orphans 1"), ..row(&task("ok")) }]).unwrap_err();
        check(&[Row { interrupt: read("lines 2\nleft 0"), ..row(&task("ok")) }]).unwrap_err();
    }

    #[test]
    fn outcomes_are_told_shortly() {
        assert_eq!(outcome(&read(&task("ok"))), "7 results; #3: WorkerDied");
        assert_eq!(outcome(&read("outcome 0 never\noutcome 1 never")), "2 × never");
        assert_eq!(outcome(&read("hung")), "hung");
        let table = print(&[row(&task("ok"))]);
        let line = "| **procession** try_map | 7 results; #3: WorkerDied | 0.2 | 2.00 | yes |";
        assert!(table.lines().any(|one| one == line), "{table}");
    }
}
