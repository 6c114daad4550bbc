//! The program for libFuzzer: `HERALD_FUZZ_TARGET` names the target; the arguments are libFuzzer's.

#![no_main]
#![expect(clippy::expect_used, clippy::disallowed_methods, reason = "libFuzzer has the arguments")]

use std::sync::LazyLock;

static JUDGE: LazyLock<fuzz::Judge> = LazyLock::new(|| {
    let name = std::env::var("HERALD_FUZZ_TARGET").expect("HERALD_FUZZ_TARGET names a target");
    fuzz::target(&name).expect("a target with that name")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| JUDGE(input));
