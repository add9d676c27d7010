//! Which part of a sweep this process measures: given, or from the environment of a job array.
//! It exists so that a sweep can be spread over machines without a word about who does what.

use std::str::FromStr;

use crate::BadInput;

/// Part `index` of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shard {
    index: usize,
    count: usize,
}

/// How a scheduler tells a process of a job array which one it is: names of variables, empty where it has none.
struct Array {
    index: &'static str,
    count: &'static str,
    first: &'static str,
    step: &'static str,
}

/// Slurm sets all of these; Kubernetes the index alone, and whoever writes the job adds the number of its completions.
const ARRAYS: [Array; 2] = [
    Array {
        index: "SLURM_ARRAY_TASK_ID",
        count: "SLURM_ARRAY_TASK_COUNT",
        first: "SLURM_ARRAY_TASK_MIN",
        step: "SLURM_ARRAY_TASK_STEP",
    },
    Array { index: "JOB_COMPLETION_INDEX", count: "JOB_COMPLETIONS", first: "", step: "" },
];

impl Shard {
    /// All of it.
    const WHOLE: Self = Self { index: 0, count: 1 };

    /// The part that is wanted: the option's; else that of a Slurm array or a Kubernetes indexed job; else all.
    ///
    /// # Errors
    /// When the environment names an index and no number of parts, or an index that is none of them.
    pub(crate) fn chosen(option: Option<Self>) -> Result<Self, BadInput> {
        option.map_or_else(|| Self::from_environment(|key| std::env::var(key).ok()), Ok)
    }

    fn from_environment(value: impl Fn(&str) -> Option<String>) -> Result<Self, BadInput> {
        let Some((array, index)) = ARRAYS.iter().find_map(|array| Some((array, value(array.index)?))) else {
            return Ok(Self::WHOLE);
        };
        let named = |key: &str| if key.is_empty() { None } else { value(key) };
        let Some(count) = named(array.count) else {
            return Err(BadInput(format!(
                "{} is {index}, but nothing says of how many parts: set {}, or give --shard {index}/N",
                array.index, array.count
            )));
        };
        let wrong = || {
            let (name, of) = (array.index, array.count);
            BadInput(format!("{name} is {index} and {of} is {count}, which is no part; give --shard I/N"))
        };
        // An array need not begin at 0, nor count by one.
        let [first, step] = [(array.first, 0), (array.step, 1)]
            .map(|(key, usual)| named(key).and_then(|text| text.parse::<usize>().ok()).unwrap_or(usual));
        let index = index.parse::<usize>().ok().and_then(|index| index.checked_sub(first));
        let index = index.filter(|index| index.is_multiple_of(step.max(1))).map(|index| index / step.max(1));
        let count = count.parse().ok();
        index.zip(count).and_then(|(index, count)| Self::new(index, count)).ok_or_else(wrong)
    }

    const fn new(index: usize, count: usize) -> Option<Self> {
        if index < count { Some(Self { index, count }) } else { None }
    }

    /// Whether the `number`th machine of a sweep is of this part.
    pub(crate) const fn holds(self, number: usize) -> bool {
        number % self.count == self.index
    }

    /// Whether there are other parts.
    pub(crate) const fn is_part(self) -> bool {
        self.count > 1
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse::<usize>().ok()?, count.parse::<usize>().ok()?)));
        numbers
            .and_then(|(index, count)| Self::new(index, count))
            .ok_or_else(|| format!("{text:?} is no part of a whole, like 0/4 to 3/4"))
    }
}

#[cfg(test)]
mod tests {
    use super::Shard;

    #[test]
    fn every_machine_is_of_exactly_one_part() {
        let parts: Vec<Shard> = ["0/3", "1/3", "2/3"].map(|text| text.parse().unwrap()).to_vec();
        for number in 0..10 {
            assert_eq!(parts.iter().filter(|part| part.holds(number)).count(), 1);
        }
        for text in ["3/3", "x/2", "1", "0/0", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn job_arrays_say_their_part() {
        let given = |pairs: &'static [(&str, &str)]| {
            Shard::from_environment(|key| {
                pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
            })
        };
        let part = |text: &str| text.parse::<Shard>().unwrap();
        assert_eq!(given(&[]).unwrap(), Shard::WHOLE);
        let slurm =
            &[("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_COUNT", "4"), ("SLURM_ARRAY_TASK_MIN", "1")];
        assert_eq!(given(slurm).unwrap(), part("2/4"));
        assert_eq!(given(&[("JOB_COMPLETION_INDEX", "1"), ("JOB_COMPLETIONS", "2")]).unwrap(), part("1/2"));
        assert!(given(&[("JOB_COMPLETION_INDEX", "2"), ("JOB_COMPLETIONS", "2")]).is_err());
        let by_two = &[
            ("SLURM_ARRAY_TASK_ID", "3"),
            ("SLURM_ARRAY_TASK_COUNT", "2"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert_eq!(given(by_two).unwrap(), part("1/2"));
    }

    #[test]
    fn an_index_alone_is_refused_by_name() {
        for index in ["JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID"] {
            let error = Shard::from_environment(|key| (key == index).then(|| "1".to_owned())).unwrap_err();
            assert!(error.0.contains(index) && error.0.contains("--shard 1/N"), "{error}");
        }
    }
}
