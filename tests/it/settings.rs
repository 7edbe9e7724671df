//! Faults of a project's files, as people see them.

use alluvial::cli::failure;
use alluvial::config::{Environment, Overrides, Settings, project};
use alluvial::error::Error;
use alluvial::jobs::definition::{self, Job};
use alluvial::jobs::schedule::Schedule;

use crate::harness::{Folder, PROJECT};

fn load(folder: &Folder, variables: &[(&str, &str)]) -> Result<Settings, Error> {
    let environment = Environment::of(folder.path(), variables.iter().copied());
    let root = project::discover(None, environment.folder())?;
    Settings::load(&root, &environment, &Overrides::default())
}

fn shown(error: &Error) -> String {
    failure::text(error, false)
}

#[test]
fn an_unknown_key_is_underlined_beside_the_nearest_known_one() {
    let folder = Folder::empty();
    folder.write("alluvial.toml", &format!("{PROJECT}\n[engine]\nmemory_limt = \"3GB\"\n"));
    insta::assert_snapshot!(shown(&load(&folder, &[]).unwrap_err()), @r#"
    error[config.unknown_key]: unknown key `memory_limt` in `[engine]`
     --> alluvial.toml:7:1
      |
    7 | memory_limt = "3GB"
      | ^^^^^^^^^^^
      |
      = help: did you mean `memory_limit`?
    "#);
}

#[test]
fn every_fault_is_told_at_once() {
    let folder = Folder::empty();
    folder.write("alluvial.toml", "[project]\ntimezone = \"Europe/Kopenhagen\"\n[lake]\nurl = \"ftp://x\"\n");
    let error = load(&folder, &[("ALLUVIAL_ENGINE__THREADS", "many")]).unwrap_err();
    insta::assert_snapshot!(shown(&error), @r#"
    error[config.missing]: `project.currency` is missing
     --> alluvial.toml:1:2
      |
    1 | [project]
      |  ^^^^^^^
      |
      = help: name the shop's currency: `currency = "DKK"`

    error[calendar.unknown_zone]: the time zone `Europe/Kopenhagen` does not exist
     --> alluvial.toml:2:12
      |
    2 | timezone = "Europe/Kopenhagen"
      |            ^^^^^^^^^^^^^^^^^^^
      |
      = help: did you mean `Europe/Copenhagen`?

    error[config.bad_url]: no store has URLs that begin with `ftp://`
     --> alluvial.toml:4:7
      |
    4 | url = "ftp://x"
      |       ^^^^^^^^^
      |
      = help: write a folder, or a URL of `s3://`, `gs://`, `az://`, `file://` or `memory://`

    error[config.out_of_range]: `engine.threads` must be a whole number from 1 to 1024
     --> variable ALLUVIAL_ENGINE__THREADS

    4 faults were found
    "#);
    let json: serde_json::Value = serde_json::from_str(&failure::json(&error)).unwrap();
    let zone = &json["errors"][1];
    assert_eq!(
        (&zone["code"], &zone["line"], &zone["column"]),
        (&"calendar.unknown_zone".into(), &2.into(), &12.into())
    );
    assert_eq!(json["errors"].as_array().unwrap().len(), 4);
}

/// The lines around a fault are printed, and a secret may stand in one of them.
#[test]
fn secrets_are_never_shown() {
    for text in [
        "[lake]\nlake_key = \"canary\"\n",
        "[lake]\nurl = \"s3://key:canary@bucket/x\"\n",
        "[lake]\nurl = \"az://container/x?sig=canary\"\n",
        "lake = { password = \"canary\", ulr = \"x\" }\n",
        "lake = { url = \"s3://key:canary@bucket\", ulr = \"x\" }\n",
        "[lake]\npassword = canary\n",
        "[lake]\npassword = \"canary\n",
        "[lake]\ntoken = { value = \"canary\" }\n",
    ] {
        let folder = Folder::empty();
        folder.write("alluvial.toml", text);
        let error = load(&folder, &[]).unwrap_err();
        let told = format!("{} {} {error} {error:?}", shown(&error), failure::json(&error));
        assert!(!told.contains("canary"), "{told}");
    }
    let folder = Folder::project();
    let error = load(&folder, &[("ALLUVIAL_LAKE__URL", "s3://key:canary@bucket")]).unwrap_err();
    assert!(!format!("{} {error:?}", shown(&error)).contains("canary"));
}

#[test]
fn no_project_says_what_to_do() {
    insta::assert_snapshot!(shown(&load(&Folder::empty(), &[]).unwrap_err()), @r"
    error[config.no_project]: neither this folder nor one above it has an `alluvial.toml`
      = help: start a project with `alluvial init DIR`, or name one with `--project DIR`
    ");
}

#[test]
fn a_file_that_is_no_text_is_a_fault_and_no_crash() {
    let folder = Folder::project();
    std::fs::write(folder.path().join("alluvial.toml"), [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(load(&folder, &[]).unwrap_err().code(), "config.not_text");
}

#[test]
fn what_init_writes_is_a_project_with_a_job() {
    let folder = Folder::empty();
    assert_eq!(folder.run(&["init", "."]).code, 0);
    let settings = load(&folder, &[]).unwrap();
    assert_eq!(settings.warnings, Vec::<String>::new());
    let job = Job::load(&settings, "nightly").unwrap();
    assert_eq!(job.schedule.as_ref().map(Schedule::as_str), Some("0 4 * * *"));
}

/// The commented settings of a new project are the documentation: each must be one that is taken, at its default.
#[test]
fn what_init_explains_can_be_set() {
    let folder = Folder::empty();
    assert_eq!(folder.run(&["init", "."]).code, 0);
    let plain = load(&folder, &[]).unwrap();
    let is_setting = |line: &str| {
        let line = line.trim_start_matches("# ");
        line.starts_with('[')
            || line
                .split_once(" = ")
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
    };
    let text = folder.read("alluvial.toml");
    let lines = text.lines().map(|line| if is_setting(line) { line.trim_start_matches("# ") } else { line });
    folder.write("alluvial.toml", &lines.collect::<Vec<_>>().join("\n"));
    let full = load(&folder, &[]).map_err(|error| shown(&error)).unwrap();
    assert_eq!((full.lifecycle, full.landing, full.retention), (plain.lifecycle, plain.landing, plain.retention));
    assert_eq!(full.fields.len(), 3);
    assert_eq!(full.tables.len(), 2);
}

#[test]
fn the_repository_is_a_project_itself() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let settings = Settings::load(root, &Environment::of(root, []), &Overrides::default()).unwrap();
    assert_eq!((settings.project.zone.name(), settings.project.currency.as_str()), ("Europe/Copenhagen", "DKK"));
    assert_eq!(settings.tables.len(), 8);
    Job::load(&settings, "nightly").unwrap();
}

#[test]
fn jobs_are_found_by_name() {
    let folder = Folder::project();
    let settings = load(&folder, &[]).unwrap();
    insta::assert_snapshot!(shown(&Job::load(&settings, "nightly").unwrap_err()), @r"
    error[jobs.unknown]: there is no job `nightly`
      = help: write `jobs/nightly.toml`; `alluvial init` does
    ");
    folder.write("jobs/nightly.toml", "schedule = \"0 4 * * mno\"\n[[steps]]\nrun = \"snapshot\"\n");
    folder.write("jobs/weekly.toml", "[[steps]]\nrun = \"snapshot\"\n");
    assert_eq!(definition::names(folder.path()).unwrap(), ["nightly", "weekly"]);
    insta::assert_snapshot!(shown(&Job::load(&settings, "nightli").unwrap_err()), @r"
    error[jobs.unknown]: there is no job `nightli`
      = help: did you mean `nightly`?
    ");
    insta::assert_snapshot!(shown(&Job::load(&settings, "nightly").unwrap_err()), @r#"
    error[jobs.bad_schedule]: `mno` is not a day of the week
     --> jobs/nightly.toml:1:12
      |
    1 | schedule = "0 4 * * mno"
      |            ^^^^^^^^^^^^^
      |
      = help: did you mean `mon`?
    "#);
    assert_eq!(Job::load(&settings, "../alluvial").unwrap_err().code(), "jobs.unknown");
    folder.write("jobs/Not A Name.toml", "");
    assert_eq!(definition::names(folder.path()).unwrap_err().code(), "jobs.bad_name");
}
