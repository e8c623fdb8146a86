//! What may not lie in shared memory does not compile, and the compiler says why.

#[test]
fn what_is_not_plain_is_refused() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/refused/holds.rs");
    for what in ["reference", "vec", "not_copy", "union", "enumeration", "layout", "parameter"] {
        cases.compile_fail(format!("tests/refused/{what}.rs"));
    }
}
