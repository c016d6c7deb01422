//! What a client may do and for how long, as the command line says it.

use engine::trust::rights::{AppList, Rights};
use engine::trust::wall::unix_s;

use crate::exit::Failure;

/// Puts what was given in the place of what is there.
pub(super) fn apply(
    rights: &mut Rights,
    kinds: Option<&str>,
    apps: Option<&str>,
) -> Result<(), Failure> {
    if let Some(kinds) = kinds {
        let bad = |error| Failure::usage(format!("--rights: {error}"));
        rights.set_kinds(kinds).map_err(bad)?;
    }
    if let Some(apps) = apps {
        let list: AppList = apps
            .parse()
            .map_err(|error| Failure::usage(format!("--apps: {error}")))?;
        rights.apps = list.0;
    }
    Ok(())
}

/// `never`, or a time from now: `90m`, `12h`, `30d`. Seconds since 1970.
pub(super) fn expiry(text: &str) -> Result<Option<u64>, Failure> {
    if text == "never" {
        return Ok(None);
    }
    let unit = |c: char| match c {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(24 * 3600),
        _ => None,
    };
    let mut digits = text.chars();
    let unit = digits.next_back().and_then(unit);
    let count = digits.as_str().parse::<u64>().ok();
    let after = unit
        .zip(count)
        .and_then(|(unit, count)| count.checked_mul(unit)?.checked_add(unix_s()));
    after.map(Some).ok_or_else(|| {
        Failure::usage(format!(
            "--expires {text}: give a time from now such as 90m, 12h or 30d, or never"
        ))
    })
}

/// The time from now to an expiry, for people.
pub(super) fn until(expires_at_unix_s: Option<u64>, expired: bool) -> String {
    let Some(at) = expires_at_unix_s else {
        return "for ever".to_owned();
    };
    let left = at.saturating_sub(unix_s());
    match left {
        _ if expired => "expired".to_owned(),
        0..7200 => format!("for {} min", left.div_ceil(60)),
        7200..172_800 => format!("for {} h", (left + 1800) / 3600),
        _ => format!("for {} days", (left + 43_200) / 86_400),
    }
}
