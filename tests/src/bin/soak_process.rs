//! The soak's family of processes, which the harness kills. Its arguments: a start method, and the seed of a plan.
#![expect(clippy::unwrap_used, reason = "a failure here fails the soak")]

fn main() {
    procession::init();
    let mut arguments = std::env::args().skip(1);
    let method = arguments.next().unwrap().parse().unwrap();
    let seed = arguments.next().unwrap().parse().unwrap();
    procession_tests::soak::process::member::root(method, seed);
}
