//! What is refused, and the exact words.

use crate::fixture::run;

fn refused(sql: &str, expect: &str) {
    match run(sql) {
        Ok(_) => panic!("accepted: {sql}"),
        Err(error) => assert_eq!(error.to_string(), expect, "{sql}"),
    }
}
