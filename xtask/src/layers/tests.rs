//! The plan's rules on made-up workspaces, and the real workspace.

use serde_json::{Value, json};

use super::*;
use crate::metadata;

const PLAN: &str = r#"
[crates.low]
layer = 0
unsafe = "all"
os = true
[crates.left]
layer = 2
unsafe = "none"
[crates.right]
layer = 2
unsafe = ["ring.rs"]
[leaves]
names = ["tool", "bench"]
os = ["bench"]
"#;

fn package(path: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
    let name = path.rsplit('/').next();
    let dependencies: Vec<Value> =
        dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
    json!({
        "name": name, "manifest_path": format!("/w/{path}/Cargo.toml"),
        "dependencies": dependencies, "targets": [],
    })
}

/// The findings when some members of a sound workspace are replaced or added.
fn found(changed: &[Value]) -> Vec<String> {
    let mut members = vec![
        package("crates/low", &[("libc", None), ("rustix", None)]),
        package("crates/left", &[("low", None), ("serde", None)]),
        package("crates/right", &[("low", None), ("low", Some("build"))]),
        package("tool", &[("left", None), ("right", Some("dev"))]),
        package("bench", &[("left", None), ("libc", None)]),
    ];
    members.retain(|member| changed.iter().all(|other| other["name"] != member["name"]));
    members.extend_from_slice(changed);
    let workspace = json!({ "packages": members, "target_directory": "/t" });
    let workspace = serde_json::from_value(workspace).expect("the shape of cargo's answer");
    findings(&Plan::parse(PLAN).expect("a sound plan"), &workspace)
}

#[track_caller]
fn assert_one(found: &[String], part: &str) {
    assert!(found.len() == 1 && found[0].contains(part), "expected one with {part:?}: {found:#?}");
}

#[test]
fn sound_workspace_is_accepted() {
    assert_eq!(found(&[]), Vec::<String>::new());
}

#[test]
fn upward_edge_is_refused() {
    let low = package("crates/low", &[("left", None)]);
    assert_one(&found(&[low]), "low -> left (normal): layer 0 may use only lower layers, not 2");
}

#[test]
fn sideways_edge_is_refused() {
    let left = package("crates/left", &[("right", None)]);
    assert_one(&found(&[left]), "left -> right (normal): layer 2");
}

#[test]
fn build_and_development_edges_count() {
    let low = package("crates/low", &[("left", Some("dev"))]);
    assert_one(&found(&[low]), "low -> left (dev)");
    let low = package("crates/low", &[("right", Some("build"))]);
    assert_one(&found(&[low]), "low -> right (build)");
}

#[test]
fn leaf_is_nobodys_dependency() {
    let left = package("crates/left", &[("tool", Some("dev"))]);
    assert_one(&found(&[left]), "left -> tool (dev): nothing depends on a leaf");
    let bench = package("bench", &[("tool", None)]);
    assert_one(&found(&[bench]), "bench -> tool");
}

#[test]
fn os_crate_needs_permission() {
    for os in OS_CRATES {
        let right = package("crates/right", &[(os, None)]);
        assert_one(&found(&[right]), os);
        let tool = package("tool", &[(os, Some("dev"))]);
        assert_one(&found(&[tool]), os);
    }
}

#[test]
fn member_without_a_place_is_refused() {
    assert_one(&found(&[package("crates/new", &[])]), "`new` of crates/ has no layer");
    assert_one(&found(&[package("new", &[])]), "`new` is outside crates/");
}

#[test]
fn plan_names_only_members() {
    let plan = format!("{PLAN}[crates.gone]\nlayer = 1\nunsafe = \"none\"\n");
    let workspace = json!({ "packages": [], "target_directory": "/t" });
    let workspace = serde_json::from_value(workspace).expect("the shape of cargo's answer");
    let found = findings(&Plan::parse(&plan).expect("a sound plan"), &workspace);
    assert!(found.iter().any(|line| line.contains("`gone` is no member")), "{found:#?}");
}

#[test]
fn plan_with_a_slip_of_the_pen_is_refused() {
    for (right, wrong) in
        [("layer = 0", "leyer = 0"), ("\"none\"", "\"nine\""), ("os = true", "so = true")]
    {
        assert!(Plan::parse(&PLAN.replacen(right, wrong, 1)).is_err(), "{wrong}");
    }
}

#[test]
fn graph_has_every_edge_between_crates() {
    let workspace = json!({
        "packages": [package("crates/left", &[("low", None)]), package("crates/right", &[("low", Some("dev"))])],
        "target_directory": "/t",
    });
    let workspace = serde_json::from_value(workspace).expect("the shape of cargo's answer");
    let dot = dot(&Plan::parse(PLAN).expect("a sound plan"), &workspace);
    assert!(dot.contains("\"left\" -> \"low\" [style = solid];"), "{dot}");
    assert!(dot.contains("\"right\" -> \"low\" [style = dashed];"), "{dot}");
    assert!(dot.contains("{ rank = same; \"left\"; \"right\" } // layer 2"), "{dot}");
}

#[test]
fn workspace_is_layered() {
    let sh = metadata::shell().expect("a current directory");
    let workspace = Metadata::load(&sh).expect("cargo describes the workspace");
    let plan = Plan::load(&metadata::root()).expect("layers.toml reads");
    let found = findings(&plan, &workspace);
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(workspace.packages.len() > plan.crates.len(), "the leaves are members too");
}
