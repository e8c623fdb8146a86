//! Workers paint a picture (the Mandelbrot set) into one block of shared memory, each its own rows; then it is written as a PNG,
//! to the path that is the first argument, or to a file that is looked at and removed.
//!
//! ```text
//! 480 x 320 pixels in 20 bands
//! nobody sent a pixel: 460800 bytes were painted in place
//! the file holds the same picture
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use procession::prelude::*;
use procession_shared::SharedMemory;

const WIDTH: u32 = 480;
const HEIGHT: u32 = 320;
const BANDS: u32 = 20;
/// Red, green, blue.
const PIXEL: usize = 3;
const ROW: usize = WIDTH as usize * PIXEL;

/// Paints one band of rows; what is returned is no pixels, but how many bytes they are.
fn paint((picture, band): (SharedMemory, u32)) -> procession::Result<usize> {
    let rows = band * HEIGHT / BANDS..(band + 1) * HEIGHT / BANDS;
    let mut painted = 0;
    for y in rows {
        let row: Vec<u8> = (0..WIDTH).flat_map(|x| color(escape_time(x, y))).collect();
        picture.write(y as usize * ROW, &row)?;
        painted += row.len();
    }
    Ok(painted)
}

/// After how many steps the point of a pixel is known not to be in the set; 255 if it may be.
fn escape_time(x: u32, y: u32) -> u8 {
    let re = f64::from(x) / f64::from(WIDTH) * 3.0 - 2.0;
    let im = f64::from(y) / f64::from(HEIGHT) * 2.0 - 1.0;
    let (mut a, mut b) = (0.0, 0.0);
    for step in 0..u8::MAX {
        (a, b) = (a * a - b * b + re, 2.0 * a * b + im);
        if a * a + b * b > 4.0 {
            return step;
        }
    }
    u8::MAX
}

fn color(steps: u8) -> [u8; PIXEL] {
    match steps {
        u8::MAX => [0, 0, 0],
        steps => [steps.wrapping_mul(9), steps.wrapping_mul(5), 255 - steps],
    }
}

fn write(path: &Path, pixels: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    Ok(writer.finish()?)
}

fn read(path: &Path) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().unwrap_or_default()];
    reader.next_frame(&mut pixels)?;
    Ok(pixels)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    procession::init();

    let picture = SharedMemory::new(HEIGHT as usize * ROW)?;
    let pool = Pool::new()?;
    let bands = (0..BANDS).map(|band| (picture.clone(), band));
    let mut painted = 0;
    for bytes in pool.map(paint, bands)? {
        painted += bytes?;
    }
    println!("{WIDTH} x {HEIGHT} pixels in {BANDS} bands");
    println!("nobody sent a pixel: {painted} bytes were painted in place");

    let pixels = picture.read_vec(0..picture.size())?;
    let wanted = std::env::args_os().nth(1).map(PathBuf::from);
    let path = wanted.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("procession-picture-{}.png", std::process::id()))
    });
    write(&path, &pixels)?;
    let is_same = read(&path)? == pixels;
    println!("the file holds {} picture", if is_same { "the same" } else { "another" });
    if wanted.is_none() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
