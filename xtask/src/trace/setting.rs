//! Settings of what is recorded, as the command line has them and as the hypervisor reads them.
//! It exists so that `run`, `trace record`, `trace control` and the live view take the same words.

use hypervisor_core::trace::choice::Choice;

use crate::BadInput;

/// `KEY=VALUE` as a setting of the hypervisor's, judged by its own reader.
///
/// # Errors
/// [`BadInput`] that names the option that brought it.
pub(crate) fn setting(option: &str, text: &str) -> Result<String, BadInput> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(BadInput(format!("{option} {text}: it is `on` or KEY=VALUE")));
    };
    let setting = format!("{key} {}", value.replace(':', " "));
    let words: Vec<&str> = setting.split_whitespace().collect();
    Choice::default().set(&words).map_err(|why| BadInput(format!("{option} {text}: {why}")))?;
    Ok(setting)
}

#[cfg(test)]
mod tests {
    use super::setting;

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
