//! A process listens on an address, another one connects to it; both know a key, and make sure that the other one does. The address is made
//! for the occasion; `localhost:6000` would do as well.
//!
//! ```text
//! (2.25, None, "junk", 1.5)
//! hello
//! 8 bytes: [42, 1729, 0, 0, 0]
//! a stranger: refused
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use procession::prelude::*;
use procession::{Address, AuthKey};

fn serve(ready: Sender<Address>) -> procession::Result<()> {
    let key = AuthKey::from(&b"secret password"[..]);
    let listener = Listener::builder().authkey(&key).bind()?;
    ready.send(listener.address().clone())?;

    let connection = listener.accept()?;
    connection.send((2.25, None::<u8>, "junk", 1.5))?;
    connection.send_bytes(b"hello")?;
    let numbers: Vec<u8> = [42, 1729].into_iter().flat_map(i32::to_le_bytes).collect();
    connection.send_bytes(&numbers)?;

    // Who does not know the key is told no more than that.
    match listener.accept() {
        Err(error) if error.kind() == procession::ErrorKind::Authentication => Ok(()),
        Err(error) => Err(error),
        Ok(_) => unreachable!("it does not know the key"),
    }
}

fn main() -> procession::Result<()> {
    procession::init();

    let (tx, rx) = pipe()?;
    let server = Process::spawn(serve, (tx,))?;
    let address = rx.recv()?;
    let key = AuthKey::from(&b"secret password"[..]);
    let connection = Client::builder(address.clone()).authkey(&key).connect()?;
    println!("{:?}", connection.recv::<(f64, Option<u8>, String, f64)>()?);
    println!("{}", String::from_utf8_lossy(&connection.recv_bytes()?));
    let mut room = [0; 20];
    let count = connection.recv_bytes_into(&mut room)?;
    let (words, _) = room.as_chunks::<4>();
    let received: Vec<_> = words.iter().map(|word| i32::from_le_bytes(*word)).collect();
    println!("{count} bytes: {received:?}");

    let guess = AuthKey::from(&b"password"[..]);
    match Client::builder(address).authkey(&guess).connect() {
        Err(error) if error.kind() == procession::ErrorKind::Authentication => {
            println!("a stranger: refused");
        }
        other => println!("a stranger: {other:?}"),
    }
    server.join()??;
    Ok(())
}
