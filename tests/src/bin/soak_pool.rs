//! The soak's family of pools. Its arguments: a kind, a start method, the number of rounds, a seed, the first round.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failure here fails the soak")]

fn main() {
    procession::init();
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap();
    let method = arguments.next().unwrap().parse().unwrap();
    let rounds = arguments.next().unwrap().parse().unwrap();
    let seed = arguments.next().unwrap().parse().unwrap();
    let first = arguments.next().unwrap().parse().unwrap();
    println!("{}", procession_tests::soak::pool::stage::play(&kind, method, rounds, seed, first));
}
