//! `asof explain`: the rows of a key, what the contract says of each, and the rule that decided.

use crate::project::Project;

/// A view of a ttl of two days over five rows of `a`: two of them tie, one came late, one is a deletion.
fn moods() -> Project {
    let project = Project::starter();
    project.write(
        "features/orders.toml",
        "[[entity]]\nname = \"person\"\nkeys = { who = \"string\" }\n\n\
         [[source]]\nname = \"moods\"\npath = \"data/moods.csv\"\nevent_time = \"at\"\ncreated_time = \"known\"\n\
         deleted = \"gone\"\n\n\
         [[view]]\nname = \"last_mood\"\nentity = \"person\"\nsource = \"moods\"\nttl = \"2d\"\n\
         [view.features]\nmood = \"string\"\nscore = \"float64\"\n\n\
         [[service]]\nname = \"cheer\"\nfeatures = [\"last_mood:*\", { view = \"last_mood\", \
         features = [\"mood\"], keys = { who = \"friend\" }, prefix = \"friend\" }]\n",
    );
    project.write(
        "data/moods.csv",
        "who,at,known,gone,mood,score\n\
         a,2026-01-01T09:00:00Z,2026-01-01T09:00:00Z,false,calm,0.5\n\
         a,2026-01-02T09:00:00Z,2026-01-04T08:00:00Z,false,bored,\n\
         a,2026-01-02T09:00:00Z,2026-01-02T10:00:00Z,false,glad,0.25\n\
         b,2026-01-01T09:00:00Z,2026-01-01T09:00:00Z,false,calm,1\n\
         a,2026-01-02T09:00:00Z,2026-01-02T10:00:00Z,false,merry,0.75\n\
         a,2026-01-05T09:00:00Z,2026-01-05T09:00:00Z,true,,\n\
         ,2026-01-05T09:00:00Z,2026-01-05T09:00:00Z,true,,\n",
    );
    project.done(&["apply", "--yes"]);
    project
}

/// What `explain` prints of key `a` at an instant.
fn explained(project: &Project, at: &str, more: &[&str]) -> String {
    let args = [
        "explain",
        "--service",
        "cheer",
        "--feature",
        "last_mood:score",
        "--key",
        "who=a",
        "--at",
        at,
    ];
    project.done(&[&args[..], more].concat()).stdout
}

#[test]
fn a_tie_and_a_row_that_came_late() {
    assert_eq!(
        explained(&moods(), "2026-01-03T09:00:00Z", &[]),
        "\
view last_mood at 2026-01-03T09:00:00Z: who = a
source moods: data/moods.csv
rows of this key: 5 of 6
rows skipped: their key or event time is null: 1

event time            created time          place                 deleted  score  by the contract
2026-01-01T09:00:00Z  2026-01-01T09:00:00Z  data/moods.csv row 0  false    0.5    loses: event time 1d earlier (rule 3)
2026-01-02T09:00:00Z  2026-01-02T10:00:00Z  data/moods.csv row 2  false    0.25   loses the tie: same times, accepted earlier (rule 3)
2026-01-02T09:00:00Z  2026-01-02T10:00:00Z  data/moods.csv row 4  false    0.75   wins: the greatest of the rows left (rule 3)
2026-01-02T09:00:00Z  2026-01-04T08:00:00Z  data/moods.csv row 1  false           left out: known only 23h later (rule 2)
2026-01-05T09:00:00Z  2026-01-05T09:00:00Z  data/moods.csv row 5  true            left out: happened only 2d later (rule 1)

without rule 2 the winner would be data/moods.csv row 1, created 2026-01-04T08:00:00Z
age = 2026-01-03T09:00:00Z - 2026-01-02T09:00:00Z = 1d <= ttl = 2d: fresh; the last fresh microsecond is 2026-01-04T09:00:00Z (rule 4)
the winner is fresh: its values are served, nulls included (rules 3 to 5)

feature           value  status
last_mood__score  0.75   PRESENT
"
    );
}

#[test]
fn a_winner_that_is_expired() {
    assert_eq!(
        explained(&moods(), "2026-01-04T09:00:00.000001Z", &[]),
        "\
view last_mood at 2026-01-04T09:00:00.000001Z: who = a
source moods: data/moods.csv
rows of this key: 5 of 6
rows skipped: their key or event time is null: 1

event time            created time          place                 deleted  score  by the contract
2026-01-01T09:00:00Z  2026-01-01T09:00:00Z  data/moods.csv row 0  false    0.5    loses: event time 1d earlier (rule 3)
2026-01-02T09:00:00Z  2026-01-02T10:00:00Z  data/moods.csv row 2  false    0.25   loses the tie: same event time, created 1d 22h earlier (rule 3)
2026-01-02T09:00:00Z  2026-01-02T10:00:00Z  data/moods.csv row 4  false    0.75   loses the tie: same event time, created 1d 22h earlier (rule 3)
2026-01-02T09:00:00Z  2026-01-04T08:00:00Z  data/moods.csv row 1  false           wins: the greatest of the rows left (rule 3)
2026-01-05T09:00:00Z  2026-01-05T09:00:00Z  data/moods.csv row 5  true            left out: happened only 23h 59m 59.999999s later (rule 1)

age = 2026-01-04T09:00:00.000001Z - 2026-01-02T09:00:00Z = 2d 0.000001s > ttl = 2d: expired; the last fresh microsecond is 2026-01-04T09:00:00Z (rule 4)
EXPIRED: the winner is older than the ttl, and no other row takes its place (rule 4)

feature           value  status
last_mood__score         EXPIRED
"
    );
}

#[test]
fn a_deletion_as_corrected_and_nothing_at_all() {
    let project = moods();
    let last_lines = |text: String| text.lines().rev().take(5).map(str::to_owned).collect::<Vec<_>>();
    let deleted = explained(&project, "2026-01-20T00:00:00Z", &[]);
    assert_eq!(
        last_lines(deleted),
        [
            "last_mood__score         NOT_FOUND",
            "feature           value  status",
            "",
            "NOT_FOUND: the winner is marked as deleted, and uncovers no row before it (rule 3)",
            "age = 2026-01-20T00:00:00Z - 2026-01-05T09:00:00Z = 14d 15h; the winner is marked as deleted, so its age does not matter (rule 3)",
        ]
    );
    let corrected = explained(
        &project,
        "2026-01-03T09:00:00Z",
        &["--as-corrected", "--key", "friend=b"],
    );
    assert!(
        corrected.contains("\nrule 2 (as known) is off: --as-corrected\n"),
        "{corrected}"
    );
    assert!(!corrected.contains("without rule 2"), "{corrected}");
    assert_eq!(last_lines(corrected)[0], "last_mood__score         NULL");
    let held_back = explained(&project, "2025-12-31T09:00:00Z", &[]);
    assert_eq!(
        last_lines(held_back)[3..],
        [
            "NOT_FOUND: no row of this key had happened by then (rule 1)",
            "no row wins: there is no age to compare with a ttl (rule 4)",
        ]
    );
    let nobody = project.done(&[
        "explain",
        "--feature",
        "last_mood:mood",
        "--key",
        "who=\u{7}z",
        "--at",
        "2026-01-03T09:00:00Z",
    ]);
    assert_eq!(
        nobody.stdout,
        "\
view last_mood at 2026-01-03T09:00:00Z: who = \\u{7}z
source moods: data/moods.csv
rows of this key: 0 of 6
rows skipped: their key or event time is null: 1

no row wins: there is no age to compare with a ttl (rule 4)
NOT_FOUND: the source has no row of this key (rule 1)

feature          value  status
last_mood__mood         NOT_FOUND
"
    );
}

#[test]
fn as_json_and_for_every_view_of_a_service() {
    let project = moods();
    let found = project
        .done(&[
            "explain",
            "--service",
            "cheer",
            "--key",
            "who=a",
            "--key",
            "friend=b",
            "--at",
            "2026-01-01T12:00:00Z",
            "--json",
        ])
        .json();
    assert_eq!(found["at"], "2026-01-01T12:00:00Z");
    let (own, friend) = (&found["views"][0], &found["views"][1]);
    assert_eq!(
        (&own["label"], &friend["label"]),
        (&"last_mood".into(), &"friend_last_mood".into())
    );
    assert_eq!(friend["key"], serde_json::json!({ "who": "b" }));
    assert_eq!(own["rows"].as_array().unwrap().len(), 5);
    assert_eq!(
        own["rows"][0],
        serde_json::json!({
            "event_time": "2026-01-01T09:00:00Z", "created_time": "2026-01-01T09:00:00Z",
            "place": { "file": "data/moods.csv", "row": 0 }, "deleted": false,
            "features": { "mood": "calm", "score": 0.5 },
            "standing": "wins", "rule": 3, "why": "wins: the greatest of the rows left (rule 3)",
        })
    );
    assert_eq!(
        (&own["winner"], &own["ttl_micros"]),
        (&0.into(), &172_800_000_000_u64.into())
    );
    assert_eq!(
        (&own["age_micros"], &own["fresh_until"]),
        (&10_800_000_000_u64.into(), &"2026-01-03T09:00:00Z".into())
    );
    assert_eq!(
        own["features"],
        serde_json::json!([
            { "feature": "last_mood__mood", "value": "calm", "status": "PRESENT" },
            { "feature": "last_mood__score", "value": 0.5, "status": "PRESENT" },
        ])
    );
    assert_eq!(
        friend["features"],
        serde_json::json!([{ "feature": "friend_last_mood__mood", "value": "calm", "status": "PRESENT" }])
    );
}

#[test]
fn of_many_rows_the_nearest_are_shown() {
    let project = moods();
    let mut rows = "who,at,known,gone,mood,score\n".to_owned();
    for day in 1..=30 {
        rows += &format!("a,2026-01-{day:02}T00:00:00Z,2026-01-{day:02}T00:00:00Z,false,calm,{day}\n");
    }
    project.write("data/moods.csv", &rows);
    let near = explained(&project, "2026-01-20T12:00:00Z", &[]);
    let lines: Vec<&str> = near.lines().skip(4).take(19).collect();
    assert_eq!(
        lines[..2],
        [
            "before these: 9 more, which --all shows",
            "after these: 5 more, which --all shows"
        ]
    );
    assert!(lines[3].starts_with("2026-01-10T00:00:00Z "), "{near}");
    assert!(lines[13].contains(" wins: "), "{near}");
    assert!(lines[18].starts_with("2026-01-25T00:00:00Z "), "{near}");
    let all = explained(&project, "2026-01-20T12:00:00Z", &["--all"]);
    assert_eq!(
        all.lines().filter(|line| line.starts_with("2026-01-")).count(),
        30
    );
}

#[test]
fn what_get_refuses_is_refused_in_the_same_words() {
    let project = moods();
    let at = "2026-01-03T09:00:00Z";
    let refusals: [(&[&str], &str); 7] = [
        (
            &["--service", "cher", "--key", "who=a"],
            "unknown service \"cher\"; did you mean \"cheer\"?",
        ),
        (
            &["--service", "cheer", "--key", "who"],
            "--key \"who\" is not NAME=VALUE: write it as --key origin=JFK",
        ),
        (
            &["--service", "cheer", "--key", "who=a", "--key", "who=b"],
            "--key \"who\" is given twice",
        ),
        (
            &["--service", "cheer", "--key", "who=a", "--key", "friends=b"],
            "--key \"friends\" is not a key column here; expected \"who\", \"friend\"; did you mean \"friend\"?",
        ),
        (
            &["--service", "cheer", "--key", "who=a"],
            "--key \"friend\" is missing: give a column of string, the key of view friend_last_mood",
        ),
        (
            &["--feature", "last_mood", "--key", "who=a"],
            "\"last_mood\" is not a feature: write view:feature or view:*",
        ),
        (
            &["--feature", "last_mood:mod", "--key", "who=a"],
            "view \"last_mood\" has no feature \"mod\"; did you mean \"mood\"?",
        ),
    ];
    for (args, error) in refusals {
        project.refused(&[&["explain", "--at", at], args].concat(), 2, error);
        let get: Vec<&str> = args
            .iter()
            .map(|arg| if *arg == "--feature" { "--features" } else { *arg })
            .collect();
        project.refused(&[&["get", "--now", at], &get[..]].concat(), 2, error);
    }
    let no_zone = "\"2026-01-03T09:00:00\" has no time zone: write it as 2013-06-01T12:00:00Z or with an offset such as +02:00";
    let keys = ["--service", "cheer", "--key", "who=a", "--key", "friend=b"];
    project.refused(
        &[&["explain", "--at", "2026-01-03T09:00:00"], &keys[..]].concat(),
        2,
        no_zone,
    );
    project.refused(
        &[&["get", "--now", "2026-01-03T09:00:00"], &keys[..]].concat(),
        2,
        no_zone,
    );
    project.write(
        "features/more.toml",
        "[[view]]\nname = \"other\"\nentity = \"person\"\nsource = \"moods\"\n[view.features]\nmood = \"string\"\n",
    );
    project.done(&["apply", "--yes"]);
    project.refused(
        &["explain", "--at", at, "--service", "cheer", "--feature", "other:mood", "--key", "who=a"],
        2,
        "service \"cheer\" has no feature \"other:mood\"; its features are last_mood:mood, last_mood:score, last_mood:mood",
    );
    project.refused(
        &["--server", "http://127.0.0.1:1", "explain", "--at", at, "--service", "cheer", "--key", "who=a"],
        2,
        "`asof explain` works on the project's directory, not yet through a server: run it there, without --server",
    );
}

#[test]
fn windows_show_what_they_cover_and_what_counts() {
    let project = moods();
    let text = project.read("features/orders.toml");
    project.write(
        "features/orders.toml",
        &format!(
            "{text}\n[[view]]\nname = \"lately\"\nentity = \"person\"\nsource = \"moods\"\nhop = \"1h\"\n\
             [[view.aggregate]]\ninput = \"score\"\nfunction = \"sum\"\nwindows = [\"1d\", \"all\"]\n\
             where = \"score > 0.3\"\n\
             [[view.aggregate]]\ninput = \"score\"\nfunction = \"count\"\nwindows = [\"1d\"]\n"
        ),
    );
    project.done(&["apply", "--yes"]);
    let arguments = |feature| {
        let at = ["--key", "who=a", "--at", "2026-01-03T09:00:00Z"];
        [&["explain", "--feature", feature][..], &at].concat()
    };
    let told = project.done(&arguments("lately:score_sum_all")).stdout;
    assert_eq!(
        told,
        "\
view lately at 2026-01-03T09:00:00Z: who = a
source moods: data/moods.csv
rows of this key: 5 of 6
rows skipped: their key or event time is null: 1

event time            created time          place                 deleted  score where score > 0.3  by the contract
2026-01-01T09:00:00Z  2026-01-01T09:00:00Z  data/moods.csv row 0  false    0.5                      counts for 1 feature
2026-01-02T09:00:00Z  2026-01-02T10:00:00Z  data/moods.csv row 2  false                             left out: its value is null, or where is not true
2026-01-02T09:00:00Z  2026-01-02T10:00:00Z  data/moods.csv row 4  false    0.75                     counts for 1 feature
2026-01-02T09:00:00Z  2026-01-04T08:00:00Z  data/moods.csv row 1  false                             left out: known only 23h later (rule 2)
2026-01-05T09:00:00Z  2026-01-05T09:00:00Z  data/moods.csv row 5  true                              left out: marked as deleted, which is no event

no row wins: events count as long as a window covers them
every feature is computed of the events that its window covers, as known at the instant

feature                covers                          events  that count  left out (rule 2)  value  status
lately__score_sum_all  all until 2026-01-03T09:00:00Z  3       2           0                  1.25   PRESENT
"
    );
    let told = project
        .done(&[&arguments("lately:*")[..], &["--json"]].concat())
        .json();
    let view = &told["views"][0];
    let names: Vec<&String> = view["rows"][0]["features"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["score is not null", "score where score > 0.3"]);
}
