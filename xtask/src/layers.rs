//! Dependencies between the workspace's crates go strictly downward, as `layers.toml` says.
//!
//! [`findings`] is a pure function of the plan and the members, so that tests can feed it a made-up workspace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use crate::metadata::{Metadata, Package};

/// What talks to the operating system directly; for crates with `os = true` only.
const OS_CRATES: [&str; 3] = ["libc", "memmap2", "rustix"];

/// The content of `layers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    pub(crate) crates: BTreeMap<String, Rule>,
    leaves: Leaves,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    layer: u32,
    #[serde(rename = "unsafe")]
    pub(crate) unsafety: Unsafety,
    #[serde(default)]
    os: bool,
}

/// Where a crate may open `unsafe_code`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Unsafety {
    Everywhere(All),
    Nowhere(Nothing),
    /// Paths under `src/`.
    In(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum All {
    All,
}

#[derive(Debug, Deserialize)]
pub(crate) enum Nothing {
    #[serde(rename = "none")]
    Nothing,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaves {
    names: Vec<String>,
    /// Leaves that may name the crates of [`OS_CRATES`].
    #[serde(default)]
    os: Vec<String>,
}

impl Plan {
    pub(crate) fn load(root: &Path) -> Result<Self, String> {
        let path = root.join("layers.toml");
        let text =
            std::fs::read_to_string(&path).map_err(|error| format!("layers.toml: {error}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| format!("layers.toml: {error}"))
    }

    fn layer(&self, name: &str) -> Option<u32> {
        self.crates.get(name).map(|rule| rule.layer)
    }

    fn is_leaf(&self, name: &str) -> bool {
        self.leaves.names.iter().any(|leaf| leaf == name)
    }

    fn may_use_os(&self, name: &str) -> bool {
        self.crates.get(name).is_some_and(|rule| rule.os)
            || self.leaves.os.iter().any(|leaf| leaf == name)
    }
}

/// Everything that breaks the plan, one line each.
pub(crate) fn findings(plan: &Plan, workspace: &Metadata) -> Vec<String> {
    let mut found = Vec::new();
    for name in plan.crates.keys().chain(&plan.leaves.names) {
        if workspace.package(name).is_none() {
            found.push(format!("layers.toml: `{name}` is no member of the workspace"));
        }
    }
    for name in plan.leaves.names.iter().filter(|name| plan.crates.contains_key(*name)) {
        found.push(format!("layers.toml: `{name}` is both a crate with a layer and a leaf"));
    }
    for name in plan.leaves.os.iter().filter(|name| !plan.is_leaf(name)) {
        found.push(format!("layers.toml: `{name}` is under leaves.os but no leaf"));
    }
    for package in &workspace.packages {
        member(plan, workspace, package, &mut found);
    }
    found
}

fn member(plan: &Plan, workspace: &Metadata, package: &Package, found: &mut Vec<String>) {
    let name = package.name.as_str();
    let folder = package.folder();
    let is_library = folder.parent().is_some_and(|parent| parent.ends_with("crates"));
    if is_library && plan.layer(name).is_none() {
        found.push(format!("layers.toml: `{name}` of crates/ has no layer"));
    }
    if is_library && !folder.ends_with(name) {
        found.push(format!("{}: the folder of `{name}` has another name", folder.display()));
    }
    if !is_library && !plan.is_leaf(name) {
        found.push(format!("layers.toml: `{name}` is outside crates/ but not among the leaves"));
    }
    for dependency in &package.dependencies {
        let target = dependency.name.as_str();
        let edge =
            format!("{name} -> {target} ({})", dependency.kind.as_deref().unwrap_or("normal"));
        if OS_CRATES.contains(&target) && !plan.may_use_os(name) {
            found.push(format!("{edge}: only crates with `os = true` may name {target}"));
        }
        if workspace.package(target).is_none() {
            continue;
        }
        if plan.is_leaf(target) {
            found.push(format!("{edge}: nothing depends on a leaf"));
            continue;
        }
        // A missing layer is reported once, above, at the crate itself.
        if let (Some(from), Some(to)) = (plan.layer(name), plan.layer(target))
            && to >= from
        {
            found.push(format!("{edge}: layer {from} may use only lower layers, not {to}"));
        }
    }
}

/// The graph for Graphviz: one rank for each layer, dashed lines for development dependencies.
pub(crate) fn dot(plan: &Plan, workspace: &Metadata) -> String {
    let mut text = String::from("digraph layers {\n  rankdir = BT;\n  node [shape = box];\n");
    let mut ranks: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (name, rule) in &plan.crates {
        ranks.entry(rule.layer).or_default().push(name);
    }
    for (layer, names) in ranks {
        let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        writeln!(text, "  {{ rank = same; {} }} // layer {layer}", quoted.join("; ")).ok();
    }
    for package in workspace.packages.iter().filter(|package| plan.layer(&package.name).is_some()) {
        for dependency in &package.dependencies {
            if plan.layer(&dependency.name).is_some() {
                let style = if dependency.kind.is_none() { "solid" } else { "dashed" };
                writeln!(
                    text,
                    "  \"{}\" -> \"{}\" [style = {style}];",
                    package.name, dependency.name
                )
                .ok();
            }
        }
    }
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests;
