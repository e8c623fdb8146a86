//! Looks for the best settings of a model: a polynomial that is fitted to noisy points by gradient descent. With some settings it
//! diverges, and with some it would take years, which nobody knows in advance: each task has a second. One that takes longer is ended
//! with its worker, whatever it is doing, and another worker goes on with the rest.
//!
//! ```text
//! degree 1, rate 3: diverged after <a> steps
//! degree 1, rate 0.3: error 0.1535
//! degree 1, rate 0.000000001: given up after a second
//! degree 3, rate 3: diverged after <b> steps
//! degree 3, rate 0.3: error 0.0107
//! degree 3, rate 0.000000001: given up after a second
//! degree 9, rate 3: diverged after <c> steps
//! degree 9, rate 0.3: error 0.0108
//! degree 9, rate 0.000000001: given up after a second
//! best: degree 3, rate 0.3
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use procession::prelude::*;

/// The degree of the polynomial, and how far each step goes.
type Settings = (usize, f64);

/// Noisy points of a sine between -1 and 1, the same ones in every process.
fn points() -> impl Iterator<Item = (f64, f64)> {
    let mut seed = 1_u32;
    (0..41).map(move |i| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (x, noise) = (f64::from(i) / 20.0 - 1.0, f64::from(seed >> 16) / 65_536.0 - 0.5);
        (x, (3.0 * x).sin() + 0.3 * noise)
    })
}

/// By how much the polynomial with these weights is off at a point.
fn error(weights: &[f64], (x, y): (f64, f64)) -> f64 {
    weights.iter().rev().fold(0.0, |sum, weight| sum * x + weight) - y
}

/// Fits every second point, and returns the mean square error at the others; or after how many steps it was clear that there is none.
fn train((degree, rate): Settings) -> Result<f64, u32> {
    let mut weights = vec![0.0; degree + 1];
    for step in 0.. {
        // Large weights cost something: without that, a high degree would fit the noise.
        let mut slope: Vec<f64> = weights.iter().map(|weight| 0.002 * weight).collect();
        for point in points().step_by(2) {
            let mut term = error(&weights, point) / 21.0;
            for slope in &mut slope {
                *slope += term;
                term *= point.0;
            }
        }
        match slope.iter().map(|slope| slope * slope).sum::<f64>() {
            ..1e-8 => break,
            ..1e12 => {}
            _ => return Err(step),
        }
        weights.iter_mut().zip(slope).for_each(|(weight, slope)| *weight -= rate * slope);
    }
    let squares = points().skip(1).step_by(2).map(|point| error(&weights, point).powi(2));
    Ok(squares.sum::<f64>() / 20.0)
}

fn main() -> procession::Result<()> {
    procession::init();

    let rates = [3.0, 0.3, 1e-9];
    let grid: Vec<Settings> = [1, 3, 9].into_iter().flat_map(|n| rates.map(|r| (n, r))).collect();
    let pool = Pool::new()?;
    let tasks = pool.tasks().timeout(Duration::from_secs(1));
    let mut best = (f64::INFINITY, String::new());
    for ((degree, rate), result) in grid.iter().zip(tasks.try_map(train, grid.clone())) {
        let name = format!("degree {degree}, rate {rate}");
        match result {
            Ok(Ok(error)) => {
                println!("{name}: error {error:.4}");
                if error < best.0 {
                    best = (error, name);
                }
            }
            Ok(Err(steps)) => println!("{name}: diverged after {steps} steps"),
            Err(TaskError::TimedOut { .. }) => println!("{name}: given up after a second"),
            Err(error) => return Err(error.into()),
        }
    }
    println!("best: {}", best.1);
    Ok(())
}
