//! The behaviours of values and arrays in shared memory that CPython's tests assert, row by row, and what those do not ask.
//! `docs/conformance.md` says which row is tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds(env!("CARGO_BIN_EXE_py_values"), row, methods);
}

/// CPython's `_TestValue`, and our own.
mod value {
    rows!("value":
        value ALL,
        rawvalue ALL,
        getobj_getlock ALL,
        counts_under_the_lock_are_exact ALL,
        counts_without_a_lock_are_exact ALL,
        a_release_is_seen_with_what_was_done_before ALL,
    );
}

/// CPython's `_TestArray`, and our own.
mod array {
    rows!("array":
        array ALL,
        array_from_size ALL,
        rawarray ALL,
        getobj_getlock_obj ALL,
        large_arrays_are_shared ALL,
        items_of_several_writers_are_exact ALL,
    );
}

/// CPython's `_TestSharedCTypes`.
mod shared_ctypes {
    rows!("ctypes":
        sharedctypes ALL,
        synchronize ALL,
        copy ALL,
    );
}

/// CPython's `_TestHeap`, and our own.
mod heap {
    rows!("heap":
        heap SERVED,
        what_others_let_go_is_given_back EACH,
    );
}

/// How they go from process to process.
mod handles {
    rows!("handles":
        they_go_everywhere_and_stay_the_same ALL,
        a_child_makes_them_and_returns_them ALL,
        a_task_of_a_pool_has_them EACH,
    );
}

/// What follows when a process dies over their lock.
mod death {
    rows!("death":
        whoever_is_next_is_told_and_repairs EACH,
        every_operation_is_told_until_one_repairs EACH,
        half_an_update_is_seen_by_who_repairs EACH,
        memory_outlives_its_makers EACH,
    );
}

/// What a fork has that nobody here made.
mod forks {
    rows!("forks":
        a_foreign_fork_uses_its_parents_values SERVED,
        a_foreign_fork_learns_that_they_are_gone SERVED,
    );
}
