//! What a paired client may do.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Names of applications in one client's rights at most: what one call's body holds.
pub const APPS_MAX: usize = 16;
/// Longest name of an application, characters.
pub const APP_CHARS_MAX: usize = 64;

/// Rights of one client. By default it may view, use and hear; what reaches beyond the picture, such
/// as the clipboard, the operator gives by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rights {
    /// It may have a session at all.
    pub view: bool,
    /// Its keyboard, pointer and controllers reach the desktop.
    pub input: bool,
    /// It hears the desktop.
    pub audio: bool,
    /// It shares the desktop's clipboard, if the host does at all.
    #[serde(default)]
    pub clipboard: bool,
    /// It speaks into a microphone of its session, if the host makes one.
    #[serde(default)]
    pub microphone: bool,
    /// Names of the applications it may see ([`crate::config::App::name`]); `None` for all.
    #[serde(deserialize_with = "Option::deserialize")]
    pub apps: Option<Vec<String>>,
}

impl Default for Rights {
    fn default() -> Self {
        Self {
            view: true,
            input: true,
            audio: true,
            clipboard: false,
            microphone: false,
            apps: None,
        }
    }
}

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// Nothing can be seen.
    #[error("the operator has not given this client the right to view")]
    View,
    /// Not this application.
    #[error("the operator has not given this client the right to {0}")]
    App(String),
}

impl Rights {
    /// May this client see that application?
    ///
    /// # Errors
    /// [`Lacking`].
    pub fn check(&self, app: &str) -> Result<(), Lacking> {
        if !self.view {
            return Err(Lacking::View);
        }
        let only = self.apps.as_ref();
        if only.is_some_and(|apps| apps.iter().all(|name| name != app)) {
            return Err(Lacking::App(app.to_owned()));
        }
        Ok(())
    }

    /// Everything that `self` allows a session with `app` is allowed by `later`, too.
    #[must_use]
    pub fn lasts_under(&self, later: &Self, app: &str) -> bool {
        later.check(app).is_ok()
            && (!self.input || later.input)
            && (!self.audio || later.audio)
            && (!self.clipboard || later.clipboard)
            && (!self.microphone || later.microphone)
    }

    /// All rights: those of whoever the operator serves unpaired. What the host does not share at
    /// all it shares with nobody.
    #[must_use]
    pub fn all() -> Self {
        Self {
            clipboard: true,
            microphone: true,
            ..Self::default()
        }
    }

    /// Sets all rights but those to applications from a list such as `view,audio`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn set_kinds(&mut self, list: &str) -> Result<(), String> {
        let none = Self {
            view: false,
            input: false,
            audio: false,
            clipboard: false,
            microphone: false,
            apps: self.apps.take(),
        };
        *self = none;
        for word in list.split(',').map(str::trim) {
            match word {
                "all" => {
                    let apps = self.apps.take();
                    *self = Self {
                        apps,
                        ..Self::all()
                    };
                }
                "none" => {}
                "view" => self.view = true,
                "input" => self.input = true,
                "audio" => self.audio = true,
                "clipboard" => self.clipboard = true,
                "microphone" => self.microphone = true,
                _ => {
                    return Err(format!(
                        "{word:?}: give view, input, audio, clipboard, microphone, all or none"
                    ));
                }
            }
        }
        Ok(())
    }

    /// The list that [`Rights::set_kinds`] reads.
    #[must_use]
    pub fn kinds(&self) -> String {
        let all = [
            (self.view, "view"),
            (self.input, "input"),
            (self.audio, "audio"),
            (self.clipboard, "clipboard"),
            (self.microphone, "microphone"),
        ];
        let given: Vec<_> = all.iter().filter(|it| it.0).map(|it| it.1).collect();
        if given.is_empty() {
            "none".to_owned()
        } else {
            given.join(",")
        }
    }

    /// Names are few and short.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check_names(&self) -> Result<(), String> {
        let apps = self.apps.as_deref().unwrap_or_default();
        let fits = |name: &String| (1..=APP_CHARS_MAX).contains(&name.chars().count());
        if apps.len() > APPS_MAX || !apps.iter().all(fits) {
            return Err(format!(
                "apps: up to {APPS_MAX} names of 1 to {APP_CHARS_MAX} characters"
            ));
        }
        Ok(())
    }
}

/// Which applications, as the command line says it: names with commas between, or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppList(pub Option<Vec<String>>);

impl FromStr for AppList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(None));
        }
        let names = text.split(',').map(|name| name.trim().to_owned());
        let rights = Rights {
            apps: Some(names.collect()),
            ..Rights::default()
        };
        rights.check_names()?;
        Ok(Self(rights.apps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_and_written() {
        let mut rights = Rights::default();
        assert_eq!(rights.kinds(), "view,input,audio");
        rights.set_kinds("view, audio").expect("valid");
        assert!(rights.view && !rights.input && rights.audio);
        assert_eq!(rights.kinds(), "view,audio");
        rights.set_kinds("none").expect("valid");
        assert_eq!(rights.kinds(), "none");
        rights.set_kinds("all").expect("valid");
        assert_eq!(rights, Rights::all());
        assert_eq!(rights.kinds(), "view,input,audio,clipboard,microphone");
        assert!(rights.set_kinds("view,root").is_err());
    }

    #[test]
    fn what_is_not_given_is_refused() {
        let only: AppList = "foot, supertux".parse().expect("valid");
        let rights = Rights {
            apps: only.0,
            ..Rights::default()
        };
        assert_eq!(rights.check("foot"), Ok(()));
        let lacking = Lacking::App("testcard".to_owned());
        assert_eq!(rights.check("testcard"), Err(lacking));
        let blind = Rights {
            view: false,
            ..Rights::default()
        };
        assert_eq!(blind.check("foot"), Err(Lacking::View));
        assert_eq!("all".parse(), Ok(AppList(None)));
        assert!("".parse::<AppList>().is_err());
    }

    #[test]
    fn a_session_lasts_only_under_what_it_uses() {
        let all = Rights::default();
        let deaf = Rights {
            audio: false,
            ..Rights::default()
        };
        assert!(!all.lasts_under(&deaf, "foot"));
        assert!(deaf.lasts_under(&all, "foot"));
        assert!(deaf.lasts_under(&deaf, "foot"));
        assert!(!Rights::all().lasts_under(&all, "foot"), "the clipboard");
    }

    #[test]
    fn the_rights_of_older_hosts_hold_nothing_that_came_later() {
        let text = r#"{"view":true,"input":true,"audio":true,"apps":null}"#;
        let rights: Rights = serde_json::from_str(text).expect("as it was written");
        assert_eq!(rights, Rights::default());
        assert!(!rights.clipboard && !rights.microphone);
    }
}
