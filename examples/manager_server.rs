//! A server in a program of its own, and clients that come to it.
//!
//! `manager_server serve 127.0.0.1:50000` serves until it is shut down; `manager_server connect 127.0.0.1:50000` comes to it, and
//! `manager_server stop 127.0.0.1:50000` ends it. Without words a child serves, and this program comes to it.
//!
//! ```text
//! client 1 came
//! client 2 came
//! the server has ended
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use procession::prelude::*;
use procession::{Address, AuthKey, ListProxy, Manager};

/// Both sides know it.
const KEY: &[u8] = b"abracadabra";

fn serve(address: String, ready: Option<Sender<Address>>) -> procession::Result<()> {
    let server = Manager::builder().address(address).authkey(&AuthKey::from(KEY)).server()?;
    let manager = server.manager()?;
    manager.publish("visitors", &manager.list::<String>()?)?;
    // Only who serves clients is kept by the name alone.
    drop(manager);
    if let Some(ready) = ready {
        ready.send(server.address().clone())?;
    }
    server.serve_forever()
}

fn connect(address: &str) -> procession::Result<()> {
    let manager = Manager::connect(address, &AuthKey::from(KEY))?;
    let visitors: ListProxy<String> = manager.find("visitors")?;
    let number = visitors.len()? + 1;
    visitors.push(&format!("client {number}"))?;
    println!("{} came", visitors.last()?.unwrap_or_default());
    Ok(())
}

fn stop(address: &str) -> procession::Result<()> {
    Manager::connect(address, &AuthKey::from(KEY))?.shutdown(Duration::from_secs(10))
}

fn main() -> procession::Result<()> {
    procession::init();

    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => return serve(address.to_owned(), None),
        ["connect", address] => return connect(address),
        ["stop", address] => return stop(address),
        _ => {}
    }
    let (tx, rx) = pipe()?;
    let server = Process::spawn(serve, ("127.0.0.1:0".to_owned(), Some(tx)))?;
    let address = rx.recv()?.to_string();
    connect(&address)?;
    connect(&address)?;
    stop(&address)?;
    server.join()??;
    println!("the server has ended");
    Ok(())
}
