//! The behaviours of locks, semaphores, conditions, events and barriers that CPython's tests assert, row by row, and what those
//! do not ask: how they go from process to process, and what follows when a process dies. `docs/conformance.md` says which row
//! is tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds(env!("CARGO_BIN_EXE_py_sync"), row, methods);
}

/// CPython's `_TestLock`, and our own.
mod lock {
    rows!("lock":
        lock ALL,
        rlock ALL,
        lock_context ALL,
        counts_under_a_lock_are_exact ALL,
        one_process_locks_another_releases ALL,
        a_guard_after_a_release_does_nothing ALL,
        a_guard_after_a_release_stands_for_the_next_of_its_thread ALL,
        a_recursive_lock_is_its_threads ALL,
        guards_are_dropped_in_any_order ALL,
        guards_and_permits_go_to_other_threads ALL,
        text ALL,
    );
}

/// CPython's `_TestSemaphore`, and our own.
mod semaphore {
    rows!("semaphore":
        semaphore ALL,
        bounded_semaphore ALL,
        timeout ALL,
        limits ALL,
        one_process_acquires_another_releases ALL,
        many_are_released_at_once ALL,
        a_forgotten_permit_stays_taken ALL,
        more_processes_than_cells EACH,
        text ALL,
    );
}

/// CPython's `_TestCondition`, and our own.
mod condition {
    rows!("condition":
        notify ALL,
        notify_all ALL,
        notify_n ALL,
        timeout ALL,
        waitfor ALL,
        waitfor_timeout ALL,
        wait_result ALL,
        who_has_waited_longest_is_notified_first ALL,
        a_wait_unlocks_all_depths_and_locks_them_again ALL,
        conditions_share_a_lock ALL,
        a_guard_of_another_lock_is_refused ALL,
        many_threads_wait ALL,
        text ALL,
    );
    rows!("resources": sigint_ends_who_waits EACH);
}

/// CPython's `_TestEvent`, and our own.
mod event {
    rows!("event":
        event ALL,
        repr ALL,
        who_waited_goes_on_though_it_is_cleared ALL,
        who_sees_it_set_sees_what_was_done_before ALL,
    );
}

/// CPython's `_TestBarrier`, and our own.
mod barrier {
    rows!("barrier":
        barrier ALL,
        barrier_10 ALL,
        wait_return ALL,
        action ALL,
        abort ALL,
        reset ALL,
        abort_and_reset ALL,
        timeout ALL,
        default_timeout ALL,
        single_thread ALL,
        thousand ALL,
        an_action_that_fails_breaks_it ALL,
        more_callers_than_parties ALL,
        a_deadline_that_has_passed ALL,
        more_generations_than_it_counts ALL,
        limits ALL,
        text ALL,
    );
}

/// How they go from process to process.
mod handles {
    rows!("handles":
        in_arguments_messages_and_results ALL,
        made_by_a_child_that_has_ended ALL,
        twice_in_a_message_and_in_two ALL,
        passed_on_to_a_grandchild ALL,
        the_senders_own_is_dropped_before_it_is_read ALL,
        in_a_message_that_is_never_read ALL,
        room_of_messages_that_are_never_read_comes_back SERVED,
        passed_around_while_others_come_and_go ALL,
        of_children_by_all_methods_at_once EACH,
        made_by_one_method_used_by_all EACH,
        to_the_workers_of_a_pool EACH,
        another_kind_is_refused SERVED,
        nothing_is_left_of_them ALL,
    );
}

/// What a copy of a process has of its parent's.
mod forks {
    rows!("forks":
        guards_of_the_parent_do_nothing FORKED,
        a_killed_fork_did_not_have_its_parents_locks FORKED,
        a_fork_is_told_of_the_death_of_its_parent FORKED,
        locks_that_were_made_before_are_used FORKED,
        a_foreign_fork_uses_its_parents_locks FORKED,
        a_foreign_fork_learns_that_they_are_gone FORKED,
        a_foreign_fork_is_killed_over_a_lock FORKED,
        a_foreign_fork_ends_over_a_lock FORKED,
    );
}

/// What follows when a process dies over a lock.
mod death {
    rows!("death":
        a_killed_owner_hands_over_the_lock EACH,
        a_killed_owner_hands_over_the_recursive_lock EACH,
        those_who_wait_for_the_lock_are_told_until_one_repairs EACH,
        who_was_told_and_dies_passes_it_on EACH,
        a_killed_waiter_takes_no_wake_up_of_a_lock_with_it EACH,
        a_stopped_owner_is_alive EACH,
        an_exit_over_a_lock_is_a_death_over_it EACH,
        what_is_kept_until_the_end_is_died_over EACH,
        a_killed_parent_is_a_death_for_those_that_outlive_it EACH,
        a_killed_grandchild_is_a_death_although_its_parent_is_stopped EACH,
        a_stopped_waiter_keeps_nothing_from_others EACH,
        a_condition_whose_notifier_dies_over_the_lock_goes_on EACH,
        a_killed_waiter_takes_no_notification_with_it EACH,
        those_who_wait_are_told_of_a_death_that_nobody_repaired EACH,
        an_error_says_what_happened EACH,
    );
}

/// What follows when a process dies that others wait for.
mod alone {
    rows!("alone":
        permits_of_the_dead_come_back EACH,
        permits_of_all_threads_of_the_dead_come_back EACH,
        permits_of_the_dead_wake_those_who_wait EACH,
        a_killed_waiter_takes_no_permit_with_it EACH,
        a_killed_waiter_keeps_no_event_from_the_others EACH,
        who_sets_an_event_and_is_killed_has_set_it EACH,
        the_death_of_all_others_ends_the_wait EACH,
        a_blocked_child_learns_that_it_is_alone EACH,
        who_comes_late_and_dies_is_missed EACH,
        who_died_before_it_read_its_arguments_is_dead EACH,
        who_ended_in_order_is_not_missed EACH,
        a_thread_that_waits_at_the_end_of_its_process_waits_no_more EACH,
        who_dropped_it_is_not_missed FRESH,
        who_never_had_it_is_not_missed EACH,
        who_waits_for_its_own_thread_waits_again EACH,
    );
}

/// What follows when a process dies that has a barrier, and when one leaves.
mod broken {
    rows!("broken":
        a_dead_party_breaks_a_barrier_until_it_is_reset EACH,
        a_party_that_dies_before_it_arrives_breaks_a_barrier EACH,
        a_party_that_comes_late_and_dies_breaks_a_barrier EACH,
        a_party_that_dies_acting_breaks_a_barrier EACH,
        who_leaves_a_barrier_in_order_is_not_missed EACH,
        who_leaves_in_order_is_not_missed_by_those_who_watch EACH,
    );
}

/// What they cost, what waits cost, and what is left of them.
mod resources {
    rows!("resources":
        ten_thousand_locks EACH,
        ten_thousand_locks_in_arguments EACH,
        no_room_is_an_error_until_there_is_some SERVED,
        those_who_wait_use_no_processor EACH,
        resource_tracker EACH,
        preload_resources SERVED,
        signals_with_a_handler_end_no_wait EACH,
    );
}

/// However a process waits.
mod policies {
    rows!("policies":
        by_spinning EACH,
        by_sleeping EACH,
        by_both EACH,
        who_is_woken_need_not_look_by_itself SERVED,
    );
}
