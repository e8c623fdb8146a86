//! Managers: containers, lifetimes of objects, who waits, and servers that end.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds(env!("CARGO_BIN_EXE_manager_rows"), row, methods);
}

mod containers {
    rows!("containers":
        a_dict_does_what_a_hash_map_does SERVED,
        a_list_does_what_a_vector_does SERVED,
        a_set_does_what_a_hash_set_does SERVED,
        a_namespace_keeps_types SERVED,
        values_and_arrays_count SERVED,
        no_change_of_many_processes_is_lost ALL,
        pages_tell_everything_in_order SERVED,
        a_batch_is_one_step ALL,
        calls_are_sent_ahead SERVED,
        threads_share_a_session SERVED,
        large_values_travel SERVED,
        keys_are_compared_as_bytes SERVED,
    );
}

mod lifetimes {
    rows!("lifetimes":
        the_last_proxy_frees_the_object ALL,
        a_container_keeps_what_is_in_it SERVED,
        proxies_travel_in_arguments_and_results ALL,
        a_proxy_under_way_keeps_its_object EACH,
        what_a_killed_process_had_is_free EACH,
        a_fork_takes_up_its_own_reference FORKED,
        a_proxy_of_another_type_is_refused SERVED,
        a_manager_travels ALL,
        names_keep_objects SERVED,
    );
}

mod waits {
    rows!("waits":
        a_lock_has_one_holder EACH,
        a_lock_of_a_dead_process_is_told EACH,
        a_recursive_lock_is_a_threads ALL,
        permits_come_back EACH,
        an_event_wakes_all EACH,
        a_condition_wakes_as_many_as_it_is_told EACH,
        a_barrier_lets_all_through_or_none EACH,
        a_queue_is_first_in_first_out EACH,
        leased_items_come_back EACH,
        who_waits_holds_up_nobody SERVED,
    );
}

mod servers {
    rows!("servers":
        a_killed_server_is_told_to_all EACH,
        a_killed_server_is_one_error_to_all_and_leaves_no_path SERVED,
        a_server_ends_with_its_manager EACH,
        a_server_is_shut_down_by_a_client ALL,
        an_initializer_prepares_the_server EACH,
        an_initializer_that_fails_is_told EACH,
        a_server_serves_in_this_process SERVED,
        by_tcp_it_is_the_same ALL,
        the_port_is_free_at_once EACH,
        strangers_are_refused SERVED,
        limits_answer_with_errors SERVED,
        one_who_does_not_read_holds_up_nobody SERVED,
        what_is_not_read_at_once_is_put_aside SERVED,
        a_link_that_is_cut_is_an_error_in_time EACH,
        ctrl_c_is_not_for_the_server EACH,
    );
}

mod custom {
    rows!("custom":
        methods_run_at_the_server ALL,
        errors_and_panics_are_told SERVED,
        methods_take_and_return_proxies ALL,
        one_call_at_a_time_runs_on_a_value EACH,
        a_method_that_waits_holds_up_nobody SERVED,
        methods_are_called_by_name SERVED,
        a_type_has_to_be_registered SERVED,
        a_value_is_dropped_with_its_last_proxy EACH,
    );
}
