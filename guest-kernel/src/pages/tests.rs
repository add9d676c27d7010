//! Pages against a model that knows of each page whose it is.

use super::*;
use proptest::prelude::*;

const END: u64 = 0x4000_0000;
const SIZE: u64 = PAGE_SIZE as u64;

/// Room for so many pages.
fn room(pages: usize) -> Pages {
    Pages::within(&(END - pages as u64 * SIZE..END))
}

/// As many pages as there is room for, all taken.
fn grown(pages: usize) -> Pages {
    let mut all = room(pages);
    while all.before().is_some() {
        all.grow();
    }
    all
}

#[test]
fn pages_lie_below_the_end_one_after_the_other() {
    let mut pages = Pages::within(&(END - 3 * SIZE + 1..END + 100));
    assert_eq!((pages.most(), pages.start(), pages.lowest()), (2, END, END - 2 * SIZE));
    assert_eq!(pages.take(), None);
    assert_eq!(pages.before(), Some(END - SIZE));
    pages.grow();
    assert_eq!((pages.before(), pages.start()), (Some(END - 2 * SIZE), END - SIZE));
    pages.grow();
    assert_eq!((pages.before(), pages.take()), (None, None));
    assert!(!pages.give(END) && !pages.give(END - 3 * SIZE) && !pages.give(0) && !pages.give(u64::MAX));
    assert!(pages.give(END - 2 * SIZE) && pages.give(END - SIZE));
    assert_eq!(pages.take(), Some(END - SIZE), "the farthest from the heap");
    assert!(pages.shrink() && !pages.shrink());
    assert_eq!((pages.start(), pages.take()), (END - SIZE, None));
}

#[test]
fn there_may_be_no_more_than_are_counted() {
    assert_eq!(Pages::most_within(&(0..1 << 40)), MOST);
    assert_eq!(Pages::most_within(&Range { start: 5, end: 4 }), 0);
    let mut pages = grown(MOST);
    for number in [0, BITS, BITS * BITS, MOST - 1] {
        assert!(pages.give(pages.address(number)));
    }
    for number in [0, BITS, BITS * BITS, MOST - 1] {
        assert_eq!(pages.take(), Some(pages.address(number)));
    }
    assert_eq!(pages.take(), None);
}

#[test]
fn what_was_lent_comes_back_range_by_range() {
    let mut pages = grown(200);
    for number in (0..200).filter(|number| *number != 199 && *number != 150) {
        assert!(pages.give(pages.address(number)));
    }
    assert!(!pages.shrink(), "the page next to the heap is taken");
    assert_eq!(pages.lend(48), Some(151..199), "the nearest to the heap");
    assert_eq!([pages.lend(100), pages.lend(40), pages.lend(11)], [Some(50..150), Some(10..50), None]);
    assert!(!pages.give(pages.address(160)), "it is the heap's");
    assert_eq!(pages.lent(0), Some(10..50));
    assert_eq!(pages.lent(50), Some(50..150));
    assert_eq!(pages.lent(150), Some(151..199));
    assert_eq!(pages.lent(199), None);
    pages.take_back(50..150);
    assert_eq!(pages.lent(11), Some(151..199));
    let taken = core::iter::from_fn(|| pages.take()).count();
    assert_eq!(taken, 110);
}

/// Whose a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Free,
    Taken,
    Lent,
}

proptest! {
    #[test]
    fn a_page_is_free_or_taken_or_lent(
        most in 1_usize..400,
        steps in proptest::collection::vec((0_u8..16, any::<u16>()), 1..300),
    ) {
        let mut pages = room(most);
        let mut model: Vec<Whose> = Vec::new();
        let mut lent: Vec<Range<usize>> = Vec::new();
        for (step, which) in steps {
            let which = usize::from(which);
            match step {
                0..6 => {
                    let expected = model.iter().position(|whose| *whose == Whose::Free);
                    let taken = pages.take();
                    prop_assert_eq!(taken, expected.map(|number| pages.address(number)));
                    if let Some(number) = expected {
                        model[number] = Whose::Taken;
                    } else if let Some(next) = pages.before() {
                        prop_assert_eq!(next, pages.start() - SIZE);
                        pages.grow();
                        model.push(Whose::Taken);
                    } else {
                        prop_assert_eq!(model.len(), most);
                    }
                }
                6..12 => {
                    let taken: Vec<usize> =
                        (0..model.len()).filter(|number| model[*number] == Whose::Taken).collect();
                    if !taken.is_empty() {
                        let number = taken[which % taken.len()];
                        prop_assert!(pages.give(pages.address(number)));
                        model[number] = Whose::Free;
                    }
                }
                12 => {
                    let before = model.len();
                    while model.last() == Some(&Whose::Free) {
                        model.pop();
                    }
                    prop_assert_eq!(pages.shrink(), model.len() < before);
                }
                13 | 14 => {
                    let wanted = 1 + which % 20;
                    let is_free = |first: &usize| {
                        model.get(*first..first + wanted).is_some_and(|all| all.iter().all(|whose| *whose == Whose::Free))
                    };
                    let expected = (0..model.len()).rev().find(is_free).map(|first| first..first + wanted);
                    prop_assert_eq!(pages.lend(wanted), expected.clone());
                    if let Some(range) = expected {
                        model[range.clone()].fill(Whose::Lent);
                        lent.push(range);
                    }
                }
                _ => if !lent.is_empty() {
                    let range = lent.swap_remove(which % lent.len());
                    pages.take_back(range.clone());
                    model[range].fill(Whose::Free);
                }
            }
            prop_assert_eq!(pages.start(), END - model.len() as u64 * SIZE);
            prop_assert_eq!(pages.is_empty(), model.is_empty());
            lent.sort_by_key(|range| range.start);
            let mut next = 0;
            let told: Vec<_> = core::iter::from_fn(|| {
                let range = pages.lent(next)?;
                next = range.end;
                Some(range)
            }).collect();
            prop_assert_eq!(&told, &lent);
            for (number, whose) in model.iter().enumerate().filter(|(_, whose)| **whose == Whose::Lent) {
                prop_assert!(!pages.give(pages.address(number)), "{number} is {whose:?}");
            }
        }
    }
}
