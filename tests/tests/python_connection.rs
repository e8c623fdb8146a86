//! The behaviours of connections, listeners, clients and of waiting for many that CPython's tests assert, row by row, and what those
//! do not ask: thousands of objects, handles in whatever messages, connections that move in the middle of something, storms of
//! signals. `docs/conformance.md` says which row is tested where.
//!
//! Each row runs in a helper program, once for each start method: a test harness has threads, so that it cannot be forked.

#[macro_use(rows)]
extern crate procession_tests;

use procession_tests::rows;

/// Runs a row of the helper program under each of these methods.
#[track_caller]
fn holds(row: &str, methods: &[&str]) {
    rows::holds(env!("CARGO_BIN_EXE_py_connection"), row, methods);
}

/// CPython's `_TestConnection`.
mod connection {
    rows!("connection":
        connection ALL,
        duplex_false ALL,
        spawn_close ALL,
        spawn_close_of_what_a_closure_captured FORKED,
        sendbytes ALL,
        fd_transfer ALL,
        large_fd_transfer ALL,
        missing_fd_transfer ALL,
        context ALL,
        polled_for_and_then_received_into_a_buffer ALL,
    );
}

/// CPython's `_TestListener`, `_TestListenerClient`, `TestInvalidFamily`, `TestTimeouts`, and our own.
mod listener {
    rows!("listener":
        multiple_bind ALL,
        context ALL,
        empty_authkey ALL,
        abstract_socket EACH,
        listener_client ALL,
        issue14725 ALL,
        issue16955 ALL,
        invalid_family ALL,
        timeout ALL,
        a_killed_listener_is_found_out_and_followed EACH,
    );
}

/// CPython's `_TestPoll`.
mod polling {
    rows!("polling":
        empty_string ALL,
        strings ALL,
        boundaries ALL,
        dont_merge ALL,
    );
}

/// CPython's `TestInvalidHandle`, `TestCloseFds`, and what messages carry.
mod handles {
    rows!("handles":
        invalid_handles EACH,
        closefd FRESH,
        a_child_keeps_no_end_open_that_it_was_not_given ALL,
        a_child_keeps_no_socket_open_that_it_was_not_given FRESH,
        hundreds_in_a_message EACH,
        nested_in_a_struct ALL,
        an_end_in_a_message_in_a_message ALL,
        ends_in_messages_that_nobody_reads_are_closed ALL,
    );
}

/// CPython's `_TestPicklingConnections`, and what moves with a connection.
mod moving {
    rows!("moving":
        pickling ALL,
        access ALL,
        a_connection_goes_round ALL,
        between_one_message_and_the_next ALL,
        with_what_was_read_ahead ALL,
        with_a_part_of_a_message ALL,
        with_the_rest_of_a_message ALL,
    );
}

/// CPython's `OtherTest`, `ChallengeResponseTest`.
mod auth {
    rows!("auth":
        deliver_challenge_auth_failure ALL,
        answer_challenge_auth_failure ALL,
        challengeresponse ALL,
    );
}

/// CPython's `TestWait`, and our own.
mod waiting {
    rows!("waiting":
        wait ALL,
        wait_slow ALL,
        wait_socket ALL,
        wait_socket_slow ALL,
        wait_timeout ALL,
        wait_integer ALL,
        neg_timeout ALL,
        processes_and_what_they_send ALL,
        all_kinds_of_objects_at_once ALL,
        four_thousand_objects_at_once EACH,
    );
}

/// CPython's `_TestPollEintr`, `TestIgnoreEINTR`, and storms.
mod signals {
    rows!("signals":
        poll_eintr EACH,
        ignore EACH,
        ignore_listener EACH,
        a_storm_during_an_echo_of_all_sizes EACH,
        a_storm_during_handshakes EACH,
        a_storm_while_handles_travel EACH,
        a_storm_while_processes_come_and_go EACH,
    );
}
