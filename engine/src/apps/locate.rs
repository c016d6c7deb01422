//! Where in a JSON text a value stands. The text is known to be JSON.

use std::fmt::Write as _;

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(name: &str) -> Self {
        Self::Field(name.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// `apps[2].command`
pub(super) fn name(steps: &[Step]) -> String {
    let mut name = String::new();
    for step in steps {
        match step {
            Step::Field(field) if name.is_empty() => name.push_str(field),
            Step::Field(field) => write!(name, ".{field}").expect("a String takes everything"),
            Step::Index(index) => write!(name, "[{index}]").expect("a String takes everything"),
        }
    }
    if name.is_empty() {
        "the file".clone_into(&mut name);
    }
    name
}

/// The line, from 1, where the value at the end of the steps begins.
pub(super) fn line(text: &str, steps: &[Step]) -> usize {
    let mut rest = text.trim_start();
    for step in steps {
        // What is not found stands where it would have stood.
        let Some(inside) = enter(rest, step) else {
            break;
        };
        rest = inside;
    }
    let before = &text[..text.len() - rest.len()];
    1 + before.matches('\n').count()
}

/// The text from the value on that `step` leads to.
fn enter<'a>(value: &'a str, step: &Step) -> Option<&'a str> {
    let mut rest = value.strip_prefix(['{', '['])?;
    let mut index = 0;
    loop {
        rest = rest.trim_start();
        let found = match step {
            Step::Field(wanted) => {
                let after = skip(rest)?;
                let key: String = serde_json::from_str(&rest[..rest.len() - after.len()]).ok()?;
                rest = after.trim_start().strip_prefix(':')?.trim_start();
                key == *wanted
            }
            Step::Index(wanted) => index == *wanted,
        };
        if found {
            return Some(rest);
        }
        rest = skip(rest)?.trim_start().strip_prefix(',')?;
        index += 1;
    }
}

/// The text after the value that it begins with. Texts may hold brackets, so they are told apart;
/// brackets come in pairs.
fn skip(value: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut in_text = false;
    let mut escaped = false;
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => {
                in_text = !in_text;
                if !in_text && depth == 0 {
                    return Some(&value[at + 1..]);
                }
            }
            _ if in_text => {}
            '{' | '[' => depth += 1,
            '}' | ']' if depth == 1 => return Some(&value[at + 1..]),
            '}' | ']' | ',' if depth == 0 => return Some(&value[at..]),
            '}' | ']' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_behind_others() {
        let text = "\n{ \"a\\\"]\": [1, {\"b\": \"}\"},\n [2]],\n \"c\": -1.5,\n\"d\": [\n7\n] }";
        let steps = |names: &[&str]| -> Vec<Step> {
            let step = |name: &&str| match name.parse::<usize>() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::from(*name),
            };
            names.iter().map(step).collect()
        };
        for (path, expected) in [
            (&[][..], 2),
            (&["a\"]"], 2),
            (&["a\"]", "1", "b"], 2),
            (&["a\"]", "2", "0"], 3),
            (&["c"], 4),
            (&["d"], 5),
            (&["d", "0"], 6),
            (&["none"], 2),
        ] {
            assert_eq!(line(text, &steps(path)), expected, "{path:?}");
        }
    }
}
