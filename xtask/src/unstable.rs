//! Tests that passed only when they were run once more.
//!
//! Programs that are killed at random points, on machines that others use too, show a race once in a thousand runs. Such a test is a
//! defect, ours or its own, but no reason to know nothing about everything else: `test-all` runs it again, names it, and counts it
//! in its closing lines. `test-all --strict` and `cargo nextest run` take the first answer.

/// The names of such tests in a report of nextest's in the format of JUnit.
pub(crate) fn names(report: &str) -> Vec<String> {
    let cases = report.split("<testcase ").skip(1);
    let unstable =
        cases.filter(|case| case.contains("<flakyFailure") || case.contains("<flakyError"));
    unstable.map(name).collect()
}

/// The program and the test, as nextest prints them.
fn name(case: &str) -> String {
    let attribute = |name: &str| {
        let (_, behind) = case.split_once(&format!("{name}=\""))?;
        behind.split_once('"').map(|(value, _)| value)
    };
    let unnamed = "a test without a name";
    // `name` is the end of `classname`, which may stand in front of it.
    let test = case.strip_prefix("name=\"").and_then(|rest| rest.split_once('"'));
    let test = test.map(|(value, _)| value).or_else(|| attribute(" name"));
    let program = attribute("classname").unwrap_or_default();
    format!("{program} {}", test.unwrap_or(unnamed))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn only_those_are_named_that_failed_and_then_passed() {
        let report = r#"<testsuites><testsuite name="p::a">
            <testcase name="steady" classname="p::a" time="0.1"></testcase>
            <testcase name="shaky" classname="p::a"><flakyFailure timestamp="1"/></testcase>
            <testcase classname="p::b" name="other"><flakyError/></testcase>
            <testcase name="broken" classname="p::b"><failure/><rerunFailure/></testcase>
        </testsuite></testsuites>"#;
        assert_eq!(names(report), ["p::a shaky", "p::b other"]);
        assert!(names("").is_empty());
    }
}
