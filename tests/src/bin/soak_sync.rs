//! The soak's family of locks and their kin. Its arguments: a kind of subject, a start method, the number of kills, a seed.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failure here fails the soak")]

fn main() {
    procession::init();
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap();
    let method = arguments.next().unwrap().parse().unwrap();
    let kills = arguments.next().unwrap().parse().unwrap();
    let seed = arguments.next().unwrap().parse().unwrap();
    println!("{}", procession_tests::soak::sync::stage::play(&kind, method, kills, seed));
}
