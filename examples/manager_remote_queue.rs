//! A queue that programs on any machine put into and get from.
//!
//! `manager_remote_queue serve 0.0.0.0:50000` on one machine, `.. put HOST:50000 hello` on another, `.. get HOST:50000` on a third. Without
//! words, all of them are processes of this machine, and so is a worker of the server's that puts into the queue as well.
//!
//! ```text
//! local hello
//! hello
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use procession::prelude::*;
use procession::{AuthKey, Manager, QueueProxy};

const KEY: &[u8] = b"abracadabra";

fn serve(address: String, ready: Option<Sender<String>>) -> procession::Result<()> {
    let server = Manager::builder().address(address).authkey(&AuthKey::from(KEY)).server()?;
    let manager = server.manager()?;
    let queue = manager.queue::<String>()?;
    manager.publish("queue", &queue)?;
    if let Some(ready) = ready {
        ready.send(server.address().to_string())?;
    }
    server.serve_forever()
}

fn find(address: &str) -> procession::Result<QueueProxy<String>> {
    Manager::connect(address, &AuthKey::from(KEY))?.find("queue")
}

fn put(address: String, text: String) -> procession::Result<()> {
    Ok(find(&address)?.put(text)?)
}

fn get(address: String) -> procession::Result<String> {
    Ok(find(&address)?.get()?)
}

fn main() -> procession::Result<()> {
    procession::init();

    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words[..] {
        [word, address] if word == "serve" => return serve(address.clone(), None),
        [word, address, text] if word == "put" => return put(address.clone(), text.clone()),
        [word, address] if word == "get" => {
            println!("{}", get(address.clone())?);
            return Ok(());
        }
        _ => {}
    }
    let (tx, rx) = pipe()?;
    let server = Process::spawn(serve, ("127.0.0.1:0".to_owned(), Some(tx)))?;
    let address = rx.recv()?;
    Process::spawn(put, (address.clone(), "local hello".to_owned()))?.join()??;
    Process::spawn(put, (address.clone(), "hello".to_owned()))?.join()??;
    for _ in 0..2 {
        println!("{}", Process::spawn(get, (address.clone(),))?.join()??);
    }
    let manager = Manager::connect(address, &AuthKey::from(KEY))?;
    manager.shutdown(Duration::from_secs(10))?;
    server.join()??;
    Ok(())
}
