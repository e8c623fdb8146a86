//! Makes thumbnails of a folder of images with a decoder that aborts the process when a file is corrupt, as C libraries do. It costs
//! the one thumbnail: the worker that had the file is named, another one takes its seat, and the rest is made.
//!
//! ```text
//! 01.ppm: 16 x 12
//! 02.ppm: 16 x 12
//! 03.ppm: 16 x 12
//! 04.ppm: PoolWorker-<worker> (pid <pid>) was killed by SIGABRT
//! 05.ppm: 16 x 12
//! 06.ppm: 16 x 12
//! 07.ppm: 16 x 12
//! 08.ppm: 16 x 12
//! 7 thumbnails were written
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs;
use std::io::{self, Error};
use std::path::{Path, PathBuf};

use procession::prelude::*;

/// By how much a thumbnail is smaller, each way.
const SCALE: usize = 8;
/// Red, green, blue.
const PIXEL: usize = 3;

/// The width, the height and the pixels of a file in the binary PPM format.
fn decode(bytes: &[u8]) -> Option<(usize, usize, &[u8])> {
    let mut parts = bytes.splitn(4, u8::is_ascii_whitespace);
    let _magic = parts.next().filter(|magic| *magic == b"P6")?;
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<usize>().ok();
    let (width, height) = (number()?, number()?);
    let pixels = parts.next()?.strip_prefix(b"255\n")?;
    if pixels.len() != width * height * PIXEL {
        // What somebody thought could never be.
        std::process::abort();
    }
    Some((width, height, pixels))
}

/// Writes the thumbnail of an image beside it; returns its size.
fn thumbnail(image: PathBuf) -> Result<(usize, usize), String> {
    let bytes = fs::read(&image).map_err(|error| error.to_string())?;
    let (width, height, pixels) = decode(&bytes).ok_or("this is no PPM file")?;
    let (across, down) = (width / SCALE, height / SCALE);
    let mut thumbnail = format!("P6\n{across} {down}\n255\n").into_bytes();
    for (y, x) in (0..down).flat_map(|y| (0..across).map(move |x| (y, x))) {
        let corner = (y * SCALE * width + x * SCALE) * PIXEL;
        thumbnail.extend_from_slice(&pixels[corner..corner + PIXEL]);
    }
    fs::write(image.with_extension("thumbnail"), thumbnail).map_err(|error| error.to_string())?;
    Ok((across, down))
}

/// Eight images; the fourth one ends too early.
fn make_images(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let make = |number: u8| {
        let image = folder.join(format!("{number:02}.ppm"));
        let mut bytes = b"P6\n128 96\n255\n".to_vec();
        let pixels = (0..96).flat_map(|y| (0..128).flat_map(move |x| [2 * x, 2 * y, 30 * number]));
        bytes.extend(pixels.take(if number == 4 { 20_000 } else { usize::MAX }));
        fs::write(&image, bytes).map(|()| image)
    };
    (1..=8).map(make).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    procession::init();

    let folder = std::env::temp_dir().join(format!("procession-thumbnails-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let images = make_images(&folder)?;
    let pool = Pool::new()?;
    let mut written = 0;
    for (image, result) in images.iter().zip(pool.try_map(thumbnail, images.clone())) {
        print!("{}: ", image.file_name().unwrap_or_default().display());
        match result {
            Ok(Ok((width, height))) => {
                println!("{width} x {height}");
                written += usize::from(image.with_extension("thumbnail").is_file());
            }
            Ok(Err(error)) => println!("{error}"),
            Err(TaskError::WorkerDied { death, .. }) => {
                println!("{} (pid {}) {}", death.name, death.pid, death.status);
            }
            Err(error) => return Err(Error::other(error).into()),
        }
    }
    println!("{written} thumbnails were written");
    fs::remove_dir_all(folder)?;
    Ok(())
}
