//! One connection carries values of any type, and bytes; and receives into memory that is there.
//!
//! ```text
//! (1, "hello", None)
//! thank you
//! 20 bytes: [0, 1, 2, 3, 4, 0, 0, 0, 0, 0]
//! too short for a message of 20 bytes
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;

fn main() -> procession::Result<()> {
    procession::init();

    let (left, right) = Connection::pair()?;
    left.send((1, "hello", None::<u8>))?;
    println!("{:?}", right.recv::<(i32, String, Option<u8>)>()?);
    right.send_bytes(b"thank you")?;
    println!("{}", String::from_utf8_lossy(&left.recv_bytes()?));

    // Five numbers as they lie in memory, into room for ten.
    let numbers: Vec<u8> = (0..5i32).flat_map(i32::to_le_bytes).collect();
    left.send_bytes(&numbers)?;
    let mut room = [0; 40];
    let count = right.recv_bytes_into(&mut room)?;
    let (words, _) = room.as_chunks::<4>();
    let received: Vec<_> = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
    println!("{count} bytes: {received:?}");

    // Too little room: the message comes with the error, and the connection goes on.
    left.send_bytes(&numbers)?;
    match right.recv_bytes_into(&mut room[..8]) {
        Err(procession::RecvIntoError::TooShort(message)) => {
            println!("too short for a message of {} bytes", message.len());
        }
        other => println!("{other:?}"),
    }
    Ok(())
}
