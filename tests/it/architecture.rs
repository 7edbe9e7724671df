//! A module uses only modules that stand above it in `src/lib.rs`, no file is too long to be read, and the top level is
//! what it should be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a file should have been split.
const MOST_LINES: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The modules of `src/lib.rs` in their order, each with whether a doc line stands over it.
fn floors(map: &str) -> Vec<(String, bool)> {
    let lines: Vec<&str> = map.lines().map(str::trim).collect();
    let module = |(index, line): (usize, &&str)| {
        let name = line.strip_prefix("pub mod ")?.strip_suffix(';')?;
        let explained = index > 0 && lines[index - 1].starts_with("///");
        Some((name.to_owned(), explained))
    };
    lines.iter().enumerate().filter_map(module).collect()
}

/// Every Rust file under a folder, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The top-level modules that a text names through `crate::`, comments left out.
fn uses(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        // `$crate::` is ours too; `my_crate::` is not.
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_names(group)),
            None => {
                found.insert(name_at(rest));
            }
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// The first name of every path in a group `a::b, c::{d, e}, f}`.
fn first_names(group: &str) -> Vec<String> {
    let mut names = vec![name_at(group.trim_start())];
    let mut depth = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name_at(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    names
}

fn name_at(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// What is wrong with the uses of one file of module `module`.
fn upward_uses(floors: &[String], module: &str, text: &str) -> Vec<String> {
    let place = |name: &str| floors.iter().position(|floor| floor == name);
    let mut wrong = Vec::new();
    for used in uses(text) {
        match (place(module), place(&used)) {
            (Some(own), Some(theirs)) if theirs > own => wrong.push(format!("`{module}` uses `{used}`, a floor above")),
            _ => {}
        }
    }
    wrong
}

/// Paths from `src`, and the top-level module of each.
fn sources() -> Vec<(PathBuf, String, String)> {
    let src = root().join("src");
    let source = |path: PathBuf| {
        let relative = path.strip_prefix(&src).unwrap().to_owned();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        (relative, module, text)
    };
    let files = rust_files(&src).into_iter().map(source);
    files.filter(|(_, module, _)| module != "lib" && module != "main").collect()
}

#[test]
fn a_module_uses_only_floors_below_it() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let floors: Vec<String> = floors(&map).into_iter().map(|(name, _)| name).collect();
    assert!(floors.len() > 10, "the map of `src/lib.rs` cannot be read: {floors:?}");
    let mut wrong = Vec::new();
    for (path, module, text) in sources() {
        wrong
            .extend(upward_uses(&floors, &module, &text).into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_stands_on_the_map_with_a_line_about_it() {
    let map = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let floors = floors(&map);
    let mut wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(_, module, _)| !floors.iter().any(|(name, _)| name == module))
        .map(|(path, _, _)| format!("src/{} is not on the map", path.display()))
        .collect();
    wrong
        .extend(floors.iter().filter(|(_, explained)| !explained).map(|(name, _)| format!("`{name}` has no doc line")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A floor reached through the root by `super::` would escape the check above.
#[test]
fn floors_are_named_through_crate() {
    let mut wrong = Vec::new();
    for (path, _, text) in sources() {
        let own = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        if own.contains(&"super::".repeat(path.components().count())) {
            wrong.push(format!("src/{}: write `crate::`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for folder in ["src", "tests"] {
        for path in rust_files(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > MOST_LINES {
                long.push(format!("{} has {lines} lines; split it by {MOST_LINES}", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// What may be seen when the project's folder is opened; the last line is what working in it leaves there.
const TOP: [&str; 14] = [
    "Cargo.toml",
    "Cargo.lock",
    "alluvial.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "src",
    "jobs",
    "sql",
    "data",
    "tests",
    "target",
    "lake",
    "proptest-regressions",
];

#[test]
fn nothing_else_stands_at_the_top() {
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let others: Vec<String> = names.filter(|name| !name.starts_with('.') && !TOP.contains(&name.as_str())).collect();
    assert_eq!(others, [""; 0], "the top level is Cargo's files, src, jobs, sql, data, tests and the three texts");
}

#[test]
fn the_check_sees_what_it_should() {
    let floors = ["error", "lake", "cli"].map(str::to_owned);
    let upward = |text: &str| upward_uses(&floors, "lake", text);
    assert_eq!(upward("use crate::cli::run;").len(), 1);
    assert_eq!(upward("use crate::{error::{Error, Result}, cli};").len(), 1);
    assert_eq!(upward("fn f() -> crate::cli::Outcome {}").len(), 1);
    assert_eq!(upward("pub(in crate::cli) fn f() {}").len(), 1);
    assert!(upward("use crate::error::Error; use crate::lake::open;").is_empty());
    assert!(upward("/// See [`crate::cli`].").is_empty());
    assert!(upward("use other_crate::cli;").is_empty());
    let map = "/// What.\npub mod error;\npub mod lake;\n";
    assert_eq!(super::architecture::floors(map), [("error".to_owned(), true), ("lake".to_owned(), false)]);
}
