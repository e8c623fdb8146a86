//! CPython: `OtherTest`, `ChallengeResponseTest`.

use procession::prelude::*;
use procession::{ErrorKind, answer_challenge, deliver_challenge};

use crate::stage::{Peer, Row, by_each_way, is_over, key, kind, next_bytes, next_of};

pub(crate) const ROWS: &[Row] = &[
    ("auth::deliver_challenge_auth_failure", deliver_challenge_auth_failure),
    ("auth::answer_challenge_auth_failure", answer_challenge_auth_failure),
    ("auth::challengeresponse", challengeresponse),
];

/// What is longer than any frame of a handshake is not read, and not answered.
const LONGEST: usize = 64;

fn deliver_challenge_auth_failure() {
    let work = |peer: Peer, rubbish: Vec<u8>| {
        let connection = peer.meet();
        let challenge = next_bytes(&connection);
        assert!(challenge.starts_with(b"procession"), "{challenge:?}");
        // As if it were one's own challenge, or an answer.
        let rubbish = if rubbish == b"back" { challenge } else { rubbish };
        connection.send_bytes(&rubbish).unwrap();
        if rubbish.len() <= LONGEST {
            // A verdict that says no more than that.
            assert_eq!(next_bytes(&connection), [0; 32]);
        }
        is_over(&connection);
    };
    for rubbish in [&b"something bogus"[..], b"", b"back", &[0; 64], &[0; 255], &[7; 64]] {
        by_each_way(
            |peer| Process::spawn(work, (peer, rubbish.to_vec())).unwrap(),
            |_, connection| {
                let refused = deliver_challenge(&connection, &key(b"abc")).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Authentication, "{refused}");
            },
        );
    }
}

fn answer_challenge_auth_failure() {
    let work = |peer: Peer, verdict: Vec<u8>| {
        let connection = peer.meet();
        let challenge = [&b"procession auth1"[..], &[7; 32]].concat();
        connection.send_bytes(&challenge).unwrap();
        assert_eq!(next_bytes(&connection).len(), 64);
        connection.send_bytes(&verdict).unwrap();
        assert_eq!(next_of::<u8>(&connection), 7);
    };
    for verdict in [&b"something bogus"[..], b"", &[0; 32], &[1; 32], b"#WELCOME#"] {
        by_each_way(
            |peer| Process::spawn(work, (peer, verdict.to_vec())).unwrap(),
            |_, connection| {
                let refused = answer_challenge(&connection, &key(b"abc")).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Authentication, "{refused}");
                // Who was refused is told by nobody; the connection is as it was.
                connection.send(7u8).unwrap();
            },
        );
    }
}

/// Other than in Python there is one algorithm, and nothing to negotiate: so keys are what can differ.
fn challengeresponse() {
    let work = |peer: Peer, bytes: Vec<u8>, is_known: bool| {
        let connection = peer.meet();
        let key = key(&bytes);
        if is_known {
            answer_challenge(&connection, &key).unwrap();
            deliver_challenge(&connection, &key).unwrap();
            assert_eq!(next_of::<u8>(&connection), 7);
        } else {
            assert_eq!(kind(answer_challenge(&connection, &key)), ErrorKind::Authentication);
        }
    };
    let long = [7; 1000];
    for known in [&b"supersecret authkey"[..], b"", &long] {
        for theirs in [known, b"supersecret authkey ", &[0]] {
            let is_known = theirs == known;
            by_each_way(
                |peer| Process::spawn(work, (peer, theirs.to_vec(), is_known)).unwrap(),
                |_, connection| {
                    let delivered = deliver_challenge(&connection, &key(known));
                    if is_known {
                        delivered.unwrap();
                        answer_challenge(&connection, &key(known)).unwrap();
                        connection.send(7u8).unwrap();
                    } else {
                        assert_eq!(kind(delivered), ErrorKind::Authentication);
                    }
                },
            );
        }
    }
}
