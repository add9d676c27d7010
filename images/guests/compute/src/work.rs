//! A unit of work: arithmetic in registers, which nothing but the processor can make faster or slower.

use core::hint::black_box;

/// Steps of a unit: some 1,500 instructions, so that what a guest has begun when its time is up counts for little.
const STEPS: u64 = 256;

/// Does one unit.
pub(crate) fn unit() {
    let mut value = black_box(1_u64);
    for _ in 0..STEPS {
        value = black_box(value).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(value);
}
