//! Settings of what is recorded, as the command line has them and as the hypervisor reads them.
//! It exists so that `run`, `trace record`, `trace control` and the live view take the same words.

use hypervisor_core::trace::choice::Choice;

use crate::{BadInput, cli};

/// `KEY=VALUE` as a setting of the hypervisor's, judged by its own reader.
///
/// # Errors
/// [`BadInput`] that names the option that brought it.
pub(crate) fn setting(option: &str, text: &str) -> Result<String, BadInput> {
    let bad = |why: String| BadInput(format!("{option} {text}: {why}"));
    let (key, value) = text.split_once('=').ok_or_else(|| bad("it is `on` or KEY=VALUE".to_owned()))?;
    judged(key, value).map_err(bad)
}

/// What options of their own choose, `--categories LIST` and so on, as settings.
///
/// # Errors
/// [`BadInput`] that names the option.
pub(super) fn chosen(choice: &cli::Choice) -> Result<Vec<String>, BadInput> {
    let one = |(key, value): (&str, String)| {
        judged(key, &value).map_err(|why| BadInput(format!("--{key} {value}: {why}")))
    };
    choice.settings().map(one).collect()
}

fn judged(key: &str, value: &str) -> Result<String, String> {
    let setting = format!("{key} {}", value.replace(':', " "));
    let words: Vec<&str> = setting.split_whitespace().collect();
    Choice::default().set(&words)?;
    Ok(setting)
}

#[cfg(test)]
mod tests {
    use super::{chosen, setting};
    use crate::cli;

    #[test]
    fn an_option_s_mistake_is_told_by_its_own_name() {
        let choice = |categories: &str| cli::Choice {
            categories: Some(categories.to_owned()),
            ..cli::Choice::default()
        };
        assert_eq!(chosen(&choice("event,ring")).unwrap(), ["categories event,ring"]);
        let why = chosen(&choice("foo")).unwrap_err().0;
        assert!(why.starts_with("--categories foo: categories: unknown category: foo"), "{why}");
        let stop = cli::Choice { stop: Some("sleep".to_owned()), ..cli::Choice::default() };
        assert!(chosen(&stop).unwrap_err().0.starts_with("--stop sleep: "));
    }

    #[test]
    fn settings_are_the_hypervisor_s_own() {
        assert_eq!(setting("--set", "stop=call:500").unwrap(), "stop call 500");
        assert_eq!(setting("--set", "domains=web-*").unwrap(), "domains web-*");
        let why = |text| setting("--set", text).unwrap_err().0;
        assert!(
            why("domains=")
                .ends_with("domains is names of domains or the beginnings of them (web-*), or all")
        );
        assert!(why("stop=sleep").ends_with("stop is call NS, delay NS, death or never"));
        assert!(
            why("nothing=1")
                .ends_with("nothing; there are categories, domains, calls, longer, stop, mode, buffer")
        );
        for text in ["on", "nothing=1", "domains=a,,b", "categories=none", "stop=call", "longer=x"] {
            assert!(setting("--set", text).unwrap_err().0.starts_with("--set "), "{text}");
        }
    }
}
