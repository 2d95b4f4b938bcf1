//! `asof rollback` and `asof materialize --redo`, of rows and of windows, with a server and without.

use serde_json::{Value, json};

use crate::project::Project;
use crate::pushing::{CLICKS, PAGES};
use crate::server::Server;

fn project() -> Project {
    let project = Project::starter();
    let service = "[[service]]\nname = \"pages\"\nfeatures = [\"page_clicks:*\"]\n";
    project.write("features/clicks.toml", &format!("{CLICKS}{PAGES}{service}"));
    project.done(&["apply", "--yes"]);
    project
}

fn ingest(project: &Project, file: &str, rows: &[(i64, &str, f64)]) {
    let mut text = String::from("customer_id,at,amount,page\n");
    for (at, (customer, page, amount)) in rows.iter().enumerate() {
        text.push_str(&format!("{customer},2026-01-01T00:00:{at:02}Z,{amount},{page}\n"));
    }
    project.write(file, &text);
    project.done(&["ingest", "clicks", file]);
}

/// How many clicks a page has, and their sum.
fn page(project: &Project, name: &str) -> (i64, Option<f64>) {
    let key = format!("page={name}");
    let told = project
        .done(&["get", "--service", "pages", "--key", &key, "--json"])
        .json();
    let of = |feature: &str| {
        let column = told["columns"].as_array().unwrap();
        let found = column.iter().find(|column| column["name"] == feature);
        found.unwrap_or_else(|| panic!("{told}"))["values"][0].clone()
    };
    (
        of("page_clicks__count_all").as_i64().unwrap(),
        of("page_clicks__amount_sum_all").as_f64(),
    )
}

fn run_of(told: &Value, view: &str) -> u64 {
    let runs = told["runs"].as_array().unwrap();
    let run = runs.iter().find(|run| run["view"] == view);
    run.unwrap()["run"].as_u64().unwrap()
}

fn state(project: &Project, view: &str) -> Value {
    let told = project.done(&["status", "--json"]).json();
    let views = told["views"].as_array().unwrap();
    views.iter().find(|told| told["view"] == view).unwrap().clone()
}

#[test]
fn windows_are_rolled_back_and_brought_back() {
    for with_server in [false, true] {
        let project = project();
        let _server = with_server.then(|| Server::start(&project, &[]));
        ingest(&project, "good.csv", &[(1, "home", 1.0), (2, "home", 2.0)]);
        project.done(&["materialize", "page_clicks", "last_click"]);
        let before = state(&project, "page_clicks")["materialized_to"].clone();
        ingest(&project, "bad.csv", &[(3, "home", 1_000.5), (3, "cart", 7.0)]);
        let told = project
            .done(&["materialize", "page_clicks", "last_click", "--json"])
            .json();
        let bad = run_of(&told, "page_clicks");
        assert_eq!(page(&project, "home"), (3, Some(1_003.5)));
        let click = json!({ "customer_id": 4, "at": "2026-01-01T00:01:00Z", "amount": 4.0, "page": "home" });
        project.write("more.jsonl", &format!("{click}\n"));
        project.done(&["push", "clicks", "more.jsonl"]);

        let told = project.done(&["rollback", &bad.to_string(), "--json"]).json();
        assert_eq!(
            (&told["rolled_back"], &told["view"], &told["as_of"]),
            (&json!(bad), &json!("page_clicks"), &before)
        );
        assert_eq!(page(&project, "home"), (3, Some(7.0)), "what was pushed stays");
        assert_eq!(page(&project, "cart"), (0, None));
        let stands = state(&project, "page_clicks");
        assert_eq!(
            (&stands["held_back_runs"], &stands["materialized_to"]),
            (&json!([bad]), &before)
        );
        let advice = format!("without run {bad}, rolled back: asof materialize page_clicks --redo");
        let text = project.done(&["status"]).stdout;
        assert!(text.contains(&advice), "{text}");
        assert_eq!(state(&project, "last_click")["held_back_runs"], json!([]));
        let runs = project.done(&["runs", "page_clicks"]).stdout;
        assert!(runs.contains(" rollback "), "{runs}");

        // What is new comes, and nothing of what is held back.
        ingest(&project, "new.csv", &[(5, "cart", 5.0)]);
        let told = project.done(&["materialize", "page_clicks"]).stdout;
        assert!(told.contains(&format!("\npage_clicks: {advice}")), "{told}");
        // Also where nothing is new.
        let told = project.done(&["materialize", "page_clicks", "--json"]).json();
        assert_eq!(told["runs"][0]["held_back_runs"], json!([bad]));
        assert_eq!(page(&project, "home"), (3, Some(7.0)));
        assert_eq!(page(&project, "cart"), (1, Some(5.0)));
        assert_eq!(state(&project, "page_clicks")["materialized_to"], before);

        let both = project.asof(&["materialize", "page_clicks", "--redo", "--full"]);
        assert_eq!(both.code, 2, "{both:?}");
        let told = project.done(&["materialize", "page_clicks", "--redo"]).stdout;
        assert!(!told.contains("rolled back"), "{told}");
        assert_eq!(page(&project, "home"), (4, Some(1_007.5)));
        assert_eq!(page(&project, "cart"), (2, Some(12.0)));
        let stands = state(&project, "page_clicks");
        assert_eq!(stands["held_back_runs"], json!([]));
        assert_ne!(stands["materialized_to"], before);
    }
}

#[test]
fn a_run_that_cannot_be_rolled_back_is_refused() {
    for with_server in [false, true] {
        let project = project();
        let _server = with_server.then(|| Server::start(&project, &[]));
        project.refused(&["rollback", "1"], 2, "there is no run 1: `asof runs` lists them");
        ingest(&project, "good.csv", &[(1, "home", 1.0)]);
        project.refused(
            &["rollback", "1"],
            2,
            "run 1 cannot be rolled back: only runs that materialized a view can be",
        );
        project.done(&["materialize", "page_clicks"]);
        ingest(&project, "next.csv", &[(2, "home", 1.0)]);
        project.done(&["materialize", "page_clicks"]);
        project.refused(
            &["rollback", "2"],
            2,
            "run 2 cannot be rolled back: run 4 of view page_clicks was completed after it, and only the last one can be",
        );
        // What is refused is in no ledger.
        assert_eq!(project.done(&["runs", "--json"]).json()["runs"][0]["id"], 4);
        project.done(&["rollback", "4"]);
        project.refused(
            &["rollback", "4"],
            2,
            "run 4 cannot be rolled back: it was rolled back already",
        );
        let ran = project.asof(&["rollback", "last"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("invalid value 'last' for '<RUN>'"), "{ran:?}");
    }
}
