//! The command line, as people see it.

use crate::harness::{Folder, assert_ran};

#[test]
fn no_command_shows_the_help_and_is_wrong_usage() {
    let ran = Folder::empty().run(&[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(ran.stderr.contains("Usage: alluvial"), "{}", ran.stderr);
}

#[test]
fn help_is_a_result() {
    let ran = Folder::empty().run(&["--help"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    for word in ["init", "--project <DIR>", "--lake <URL>", "--format <FORMAT>", "- json:"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    assert_ran!(Folder::empty().run(&["init", "--help"]), @r"
    $ alluvial init --help
    exit code 0
    ----- stdout -----
    Start a project: alluvial.toml, jobs/nightly.toml and sample segments; never overwrites

    Usage: alluvial init [OPTIONS] <DIR>

    Arguments:
      <DIR>
              The project's folder; it is made if it is not there

    Options:
          --timezone <TZ>
              The shop's time zone, such as Europe/Copenhagen
              
              [default: UTC]

          --currency <CODE>
              The shop's currency, such as DKK
              
              [default: EUR]

      -h, --help
              Print help (see a summary with '-h')

    Everywhere:
          --project <DIR>
              The project's folder [default: this folder or the nearest above it with an alluvial.toml]

          --lake <URL>
              The lake, instead of the project's own: a folder, s3://, gs:// or az://

          --format <FORMAT>
              How results are written; of `export` and `link`, the format of the file

              Possible values:
              - table: For people
              - json:  An array of objects
              - csv:   With a header line
              
              [default: table]

      -v, --verbose...
              Say more on stderr; three times for everything

      -q, --quiet
              Say nothing on stderr but faults
    ----- stderr -----
    ");
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_ran!(Folder::empty().run(&["inti", "shop"]), @r"
    $ alluvial inti shop
    exit code 2
    ----- stdout -----
    ----- stderr -----
    error: unrecognized subcommand 'inti'

      tip: a similar subcommand exists: 'init'

    Usage: alluvial [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_ran!(Folder::empty().run(&["init", "shop", "--format", "xml"]), @r"
    $ alluvial init shop --format xml
    exit code 2
    ----- stdout -----
    ----- stderr -----
    error: invalid value 'xml' for '--format <FORMAT>'
      [possible values: table, json, csv]

    For more information, try '--help'.
    ");
    assert_ran!(Folder::empty().run(&["init", "--format", "json"]), @r#"
    $ alluvial init --format json
    exit code 2
    ----- stdout -----
    ----- stderr -----
    {"errors":[{"code":"cli.usage","column":null,"file":null,"hint":"`alluvial --help` says what can be written","kind":"usage","line":null,"message":"the following required arguments were not provided: <DIR>","row":null}]}
    "#);
    assert_eq!(Folder::empty().run(&["init", "shop", "-q", "-v"]).code, 2);
}

#[test]
fn init_writes_a_project() {
    let folder = Folder::empty();
    assert_ran!(folder.run(&["init", "shop", "--timezone", "Europe/Copenhagen", "--currency", "dkk"]), @r"
    $ alluvial init shop --timezone Europe/Copenhagen --currency dkk
    exit code 0
    ----- stdout -----
    file                                           result
    alluvial.toml                                  written
    jobs/nightly.toml                              written
    jobs/weekly.toml                               written
    jobs/upkeep.toml                               written
    .gitignore                                     written
    sql/segments/abandoned-carts.toml              written
    sql/segments/active-email-subscribers.toml     written
    sql/segments/average-order-over-50.toml        written
    sql/segments/birthday-next-week.toml           written
    sql/segments/bought-in-last-30-days.toml       written
    sql/segments/bought-in-last-year.toml          written
    sql/segments/category-fans.toml                written
    sql/segments/did-not-buy-in-90-days.toml       written
    sql/segments/due-to-reorder.toml               written
    sql/segments/high-value-danes.toml             written
    sql/segments/inactive-for-six-months.toml      written
    sql/segments/lapsing-high-value.toml           written
    sql/segments/loyal-customers.toml              written
    sql/segments/more-than-one-order.toml          written
    sql/segments/new-subscribers.toml              written
    sql/segments/potential-converters.toml         written
    sql/segments/spent-over-100.toml               written
    sql/segments/subscribed-but-never-bought.toml  written
    sql/segments/subscription-cancelled.toml       written
    sql/segments/viewed-but-did-not-order.toml     written
    sql/segments/vip.toml                          written
    sql/segments/win-back.toml                     written
    ----- stderr -----
    next: set the time zone and the currency in `shop/alluvial.toml`, land data, then `alluvial run nightly --project shop`
    ");
    let written = folder.read("shop/alluvial.toml");
    assert!(written.contains("timezone = \"Europe/Copenhagen\"") && written.contains("currency = \"DKK\""));
    assert!(folder.read("shop/.gitignore").contains("/lake/"));
}

#[test]
fn init_never_overwrites() {
    let folder = Folder::empty();
    folder.write("shop/alluvial.toml", "# ours\n");
    assert_ran!(folder.run(&["init", "shop", "--format", "json", "-q"]), @r#"
    $ alluvial init shop --format json -q
    exit code 0
    ----- stdout -----
    [
      {"file": "alluvial.toml", "result": "kept as it is"},
      {"file": "jobs/nightly.toml", "result": "written"},
      {"file": "jobs/weekly.toml", "result": "written"},
      {"file": "jobs/upkeep.toml", "result": "written"},
      {"file": ".gitignore", "result": "written"},
      {"file": "sql/segments/abandoned-carts.toml", "result": "written"},
      {"file": "sql/segments/active-email-subscribers.toml", "result": "written"},
      {"file": "sql/segments/average-order-over-50.toml", "result": "written"},
      {"file": "sql/segments/birthday-next-week.toml", "result": "written"},
      {"file": "sql/segments/bought-in-last-30-days.toml", "result": "written"},
      {"file": "sql/segments/bought-in-last-year.toml", "result": "written"},
      {"file": "sql/segments/category-fans.toml", "result": "written"},
      {"file": "sql/segments/did-not-buy-in-90-days.toml", "result": "written"},
      {"file": "sql/segments/due-to-reorder.toml", "result": "written"},
      {"file": "sql/segments/high-value-danes.toml", "result": "written"},
      {"file": "sql/segments/inactive-for-six-months.toml", "result": "written"},
      {"file": "sql/segments/lapsing-high-value.toml", "result": "written"},
      {"file": "sql/segments/loyal-customers.toml", "result": "written"},
      {"file": "sql/segments/more-than-one-order.toml", "result": "written"},
      {"file": "sql/segments/new-subscribers.toml", "result": "written"},
      {"file": "sql/segments/potential-converters.toml", "result": "written"},
      {"file": "sql/segments/spent-over-100.toml", "result": "written"},
      {"file": "sql/segments/subscribed-but-never-bought.toml", "result": "written"},
      {"file": "sql/segments/subscription-cancelled.toml", "result": "written"},
      {"file": "sql/segments/viewed-but-did-not-order.toml", "result": "written"},
      {"file": "sql/segments/vip.toml", "result": "written"},
      {"file": "sql/segments/win-back.toml", "result": "written"}
    ]
    ----- stderr -----
    "#);
    assert_eq!(folder.read("shop/alluvial.toml"), "# ours\n");
    let before = folder.read("shop/jobs/nightly.toml");
    assert_eq!(folder.run(&["init", "shop"]).code, 0);
    assert_eq!(folder.read("shop/jobs/nightly.toml"), before);
}

#[test]
fn init_refuses_what_does_not_exist() {
    assert_ran!(Folder::empty().run(&["init", "shop", "--timezone", "Europe/Kopenhagen"]), @r"
    $ alluvial init shop --timezone Europe/Kopenhagen
    exit code 2
    ----- stdout -----
    ----- stderr -----
    error[calendar.unknown_zone]: the time zone `Europe/Kopenhagen` does not exist
      = help: did you mean `Europe/Copenhagen`?
    ");
    let folder = Folder::empty();
    folder.write("shop", "a file\n");
    let ran = folder.run(&["init", "shop", "--format", "json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("{\"errors\":[{\"code\":\"io\""), "{}", ran.stderr);
    assert_eq!(folder.read("shop"), "a file\n");
}

#[test]
fn results_can_be_csv() {
    let ran = Folder::empty().run(&["init", "shop", "--format", "csv"]);
    assert!(ran.stdout.starts_with("file,result\nalluvial.toml,written\n"), "{}", ran.stdout);
}

/// The same command line inside of this process.
#[test]
fn the_command_line_is_a_function() {
    let folder = Folder::empty();
    let environment = alluvial::config::Environment::of(folder.path(), []);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let line = ["alluvial", "init", "shop"].map(Into::into).to_vec();
    assert_eq!(alluvial::cli::run(line, &environment, &mut stdout, &mut stderr), 0);
    assert!(String::from_utf8(stdout).unwrap().contains("sql/segments/vip.toml"));
    assert!(folder.path().join("shop/jobs/nightly.toml").is_file());
}

/// The allocator says what it goes by: a night's, one of little memory, an export's, its own, and always what the environment says.
#[cfg(unix)]
#[test]
fn commands_have_the_allocator_that_suits_them() {
    let folder = Folder::project();
    let said = |arguments: &[&str], variables: &[(&str, &str)]| {
        let variables = [&[("MIMALLOC_VERBOSE", "1")], variables].concat();
        let ran = folder.run_with(arguments, &variables);
        let options = ran.stderr.lines().filter_map(|line| line.trim().split_once("option '")?.1.split_once("': "));
        let told = |option: &str| -> String {
            let mut found = options.clone().filter(|(name, _)| *name == option).map(|(_, value)| value);
            found.next_back().unwrap_or("-").split(' ').next().unwrap_or("-").to_owned()
        };
        [told("purge_delay"), told("allow_thp")]
    };
    let own = said(&["jobs"], &[]);
    assert_ne!(own[0], "-", "it says nothing any more");
    let limited = |to: &'static str| [("ALLUVIAL_ENGINE__MEMORY_LIMIT", to)];
    assert_eq!(said(&["scheduler", "--once"], &limited("2GB")), ["60000", own[1].as_str()]);
    assert_eq!(said(&["scheduler", "--once"], &limited("1GB")), ["300", "0"]);
    assert_eq!(said(&["export", "vip", "--format", "email", "--to", "-"], &[]), ["20", "0"]);
    assert_eq!(said(&["run", "nightly"], &[("MIMALLOC_PURGE_DELAY", "7")]), ["7", own[1].as_str()]);
}
