//! Two sides of the handshake, in memory, and what attackers say.

use procession_core::authkey::AuthKey;

use super::Digests;
use super::digest::Digest;
use super::handshake::{Handshake, LONGEST, Role, Then};

fn key(text: &str) -> AuthKey {
    AuthKey::from(text.as_bytes())
}

fn side(role: Role, text: &str) -> Handshake {
    Handshake::new(role, &key(text), Digests::All)
}

/// Carries frames from one to the other; how each ends.
fn talk(mut listener: Handshake, mut client: Handshake) -> [Then; 2] {
    let mut ends = [Then::GoOn; 2];
    assert_eq!(client.begin().unwrap(), None);
    let mut frame = listener.begin().unwrap();
    let mut turns = [(1, &mut client), (0, &mut listener)].into_iter();
    let (mut this, mut other) = (turns.next().unwrap(), turns.next().unwrap());
    while let Some(text) = frame.take() {
        assert!(text.len() <= LONGEST);
        let step = this.1.take(&text).unwrap();
        (ends[this.0], frame) = (step.then, step.reply);
        std::mem::swap(&mut this, &mut other);
    }
    ends
}

#[test]
fn who_has_the_same_key_passes_on_both_sides() {
    for text in ["secret", "", &"long".repeat(100)] {
        let ends = talk(side(Role::Listener, text), side(Role::Client, text));
        assert_eq!(ends, [Then::Passed; 2]);
    }
}

#[test]
fn another_key_fails_at_once() {
    let mut listener = side(Role::Listener, "one");
    let mut client = side(Role::Client, "other");
    let challenge = listener.begin().unwrap().unwrap();
    let answer = client.take(&challenge).unwrap().reply.unwrap();
    let step = listener.take(&answer).unwrap();
    assert_eq!(step.reply.as_deref(), Some(&b"#FAILURE#"[..]));
    assert!(matches!(step.then, Then::Failed(_)));
    assert!(matches!(client.take(b"#FAILURE#").unwrap().then, Then::Failed(_)));
    // And nothing after that.
    assert!(matches!(listener.take(&answer).unwrap().then, Then::Failed(_)));
}

/// A listener that has sent its challenge, and what it was.
fn challenged(digests: Digests) -> (Handshake, Vec<u8>) {
    let mut listener = Handshake::new(Role::Listener, &key("secret"), digests);
    let challenge = listener.begin().unwrap().unwrap();
    (listener, challenge[11..].to_vec())
}

#[test]
fn every_digest_that_cpython_allows_is_taken_and_no_other() {
    for digest in Digest::ALL {
        let (mut listener, text) = challenged(Digests::All);
        let mac = digest.mac(b"secret", &text);
        let named = [format!("{{{}}}", digest.name()).as_bytes(), &mac].concat();
        assert_eq!(listener.take(&named).unwrap().then, Then::GoOn, "{digest:?}");
        // Without the name, with another's, cut, and with more.
        for wrong in [
            if digest == Digest::Md5 { vec![0; 16] } else { mac.clone() },
            [&b"{sha512}"[..], &mac].concat(),
            named[..named.len() - 1].to_vec(),
            [&named[..], &[0]].concat(),
            named[..named.len() - mac.len()].to_vec(),
            Vec::new(),
        ] {
            let (mut listener, _) = challenged(Digests::All);
            assert!(matches!(listener.take(&wrong).unwrap().then, Then::Failed(_)));
        }
    }
    let (mut listener, text) = challenged(Digests::All);
    assert_eq!(listener.take(&Digest::Md5.mac(b"secret", &text)).unwrap().then, Then::GoOn);
}

#[test]
fn md5_is_neither_taken_nor_given_where_it_is_not_allowed() {
    for prefix in ["", "{md5}"] {
        let (mut listener, text) = challenged(Digests::Modern);
        let answer = [prefix.as_bytes(), &Digest::Md5.mac(b"secret", &text)].concat();
        assert!(matches!(listener.take(&answer).unwrap().then, Then::Failed(_)));
    }
    let modern = || Handshake::new(Role::Client, &key("secret"), Digests::Modern);
    let legacy = [&b"#CHALLENGE#"[..], &[7; 20]].concat();
    let named = [&b"#CHALLENGE#{md5}"[..], &[7; 40]].concat();
    for challenge in [legacy, named] {
        let step = modern().take(&challenge).unwrap();
        assert_eq!(step.reply, None);
        assert!(matches!(step.then, Then::Failed(_)));
    }
    let ends = talk(Handshake::new(Role::Listener, &key("secret"), Digests::Modern), modern());
    assert_eq!(ends, [Then::Passed; 2]);
}

#[test]
fn a_challenge_is_answered_as_cpython_does() {
    let count: Vec<u8> = (0..40).collect();
    let answer = |text: &[u8]| {
        let frame = [b"#CHALLENGE#", text].concat();
        side(Role::Client, "secret").take(&frame).unwrap().reply
    };
    assert_eq!(answer(&count[..20]), Some(Digest::Md5.mac(b"secret", &count[..20])));
    let modern = [&b"{sha3_384}"[..], &count].concat();
    let wanted = [b"{sha3_384}".to_vec(), Digest::Sha3_384.mac(b"secret", &modern)].concat();
    assert_eq!(answer(&modern), Some(wanted));
    for wrong in [&count[..19], &count[..21], b"{sha1}aaaaaaaaaaaaaaaaaaaa", b""] {
        assert_eq!(answer(wrong), None);
    }
    assert_eq!(side(Role::Client, "secret").take(b"#WELCOME#").unwrap().reply, None);
}

#[test]
fn what_was_said_before_and_what_we_said_ourselves_proves_nothing() {
    // Replayed: the answer to another challenge.
    let (_, earlier) = challenged(Digests::All);
    let (mut listener, text) = challenged(Digests::All);
    let replayed = [b"{sha256}".to_vec(), Digest::Sha256.mac(b"secret", &earlier)].concat();
    assert!(matches!(listener.take(&replayed).unwrap().then, Then::Failed(_)));
    // Reflected: our challenge sent back to us, after a right answer.
    let (mut listener, again) = challenged(Digests::All);
    assert_ne!(text, again);
    let right = [b"{sha256}".to_vec(), Digest::Sha256.mac(b"secret", &again)].concat();
    assert_eq!(listener.take(&right).unwrap().then, Then::GoOn);
    let step = listener.take(&[&b"#CHALLENGE#"[..], &again].concat()).unwrap();
    assert!(step.reply.is_none() && matches!(step.then, Then::Failed(_)));
    // A client is not welcome before it has answered, nor convinced before the listener has.
    let mut client = side(Role::Client, "secret");
    assert!(matches!(client.take(b"#WELCOME#").unwrap().then, Then::Failed(_)));
}
