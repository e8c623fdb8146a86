//! The soak's hundred processes that wait. Its argument: how many windows of five seconds.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failure here fails the soak")]

fn main() {
    procession::init();
    let windows = std::env::args().nth(1).unwrap().parse().unwrap();
    println!("{}", procession_tests::soak::idle::measure(windows));
}
