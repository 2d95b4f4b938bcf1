//! Names that are nearly those that were meant.

/// The end of a message that names the nearest known name, where there is one.
pub fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

/// The known name nearest to `name`, where one is near enough to be what was meant.
pub fn nearest<T: AsRef<str>>(name: &str, known: impl IntoIterator<Item = T>) -> Option<String> {
    if name.len() > 200 {
        return None;
    }
    known
        .into_iter()
        .map(|candidate| {
            let candidate = candidate.as_ref();
            let distance = strsim::damerau_levenshtein(name, candidate);
            (
                !candidate.eq_ignore_ascii_case(name),
                distance,
                candidate.to_owned(),
            )
        })
        .min()
        .filter(|(other, distance, candidate)| {
            // Of one or two letters every other name is near, and none is meant.
            let length = candidate.chars().count().max(name.chars().count());
            !other || (length > 2 && *distance <= 1 + length / 4)
        })
        .map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_name_is_suggested_where_it_may_be_what_was_meant() {
        let check = |name: &str, known: &[&str], expect: Option<&str>| {
            assert_eq!(nearest(name, known).as_deref(), expect, "{name}");
        };
        check("weathr", &["planes", "weather"], Some("weather"));
        check("L", &["T", "l"], Some("l"));
        check("t", &["s", "x"], None);
        check("ab", &["ac"], None);
        check("Origin", &["origin"], Some("origin"));
        check("departures", &["arrivals"], None);
        check("anything", &[], None);
    }
}
