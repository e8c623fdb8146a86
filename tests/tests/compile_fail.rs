//! What must not compile, and what the compiler says then. These programs are built, not only checked: whether a closure
//! captures something is known when the call is instantiated.

#[test]
fn what_cannot_run_elsewhere_does_not_compile() {
    let cases = trybuild::TestCases::new();
    // With a case that passes, the others are built as well.
    cases.pass("tests/compile_fail/captures_nothing.rs");
    cases.compile_fail("tests/compile_fail/captures_a_number.rs");
    cases.compile_fail("tests/compile_fail/function_pointer.rs");
    cases.compile_fail("tests/compile_fail/wrong_arguments.rs");
    // What may not lie in shared memory. Here, because what all of these stand on is built once.
    cases.pass("tests/compile_fail/plain/holds.rs");
    for what in ["reference", "vec", "not_copy", "union", "enumeration", "layout", "parameter"] {
        cases.compile_fail(format!("tests/compile_fail/plain/{what}.rs"));
    }
}
