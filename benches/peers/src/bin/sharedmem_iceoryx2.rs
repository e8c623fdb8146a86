//! Family `sharedmem`, of blocks: a loan of iceoryx2 that a subscriber in another process receives. That is told by a byte through a pipe
//! that there is one, since its receivers do not wait.

use std::error::Error;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use iceoryx2::port::publisher::Publisher;
use iceoryx2::prelude::*;
use iceoryx2::sample_mut::SampleMut;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

#[expect(dead_code, reason = "copies, which are none of a loan's")]
#[path = "../../../src/block.rs"]
mod block;
#[expect(dead_code, reason = "the loop of another family")]
#[path = "../../../src/measure.rs"]
mod measure;

use block::{BIG, Stage, measure_filling, measure_sharing, touch};

type Service = PortFactory<ipc::Service, [u8], ()>;

fn service(node: &Node<ipc::Service>, name: &str) -> Result<Service, Box<dyn Error>> {
    let service = node
        .service_builder(&name.try_into()?)
        .publish_subscribe::<[u8]>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(1)
        .subscriber_max_borrowed_samples(1)
        .history_size(0)
        .max_publishers(1)
        .max_subscribers(1)
        .open_or_create()?;
    Ok(service)
}

struct Loans {
    publisher: Publisher<ipc::Service, [u8], ()>,
    go: ChildStdin,
    acknowledged: ChildStdout,
}

impl Loans {
    fn fill(&self, bytes: &[u8]) -> io::Result<SampleMut<ipc::Service, [u8], ()>> {
        let loan = self.publisher.loan_slice_uninit(bytes.len());
        Ok(loan.map_err(io::Error::other)?.write_from_slice(bytes))
    }

    fn send(&mut self, loan: SampleMut<ipc::Service, [u8], ()>) -> io::Result<()> {
        loan.send().map_err(io::Error::other)?;
        self.go.write_all(b"g")?;
        self.go.flush()
    }
}

/// A loan can be sent once: what is shown again is another one, which is filled before the clock starts.
struct Shown {
    loans: Loans,
    next: Option<SampleMut<ipc::Service, [u8], ()>>,
    acknowledgements: usize,
}

impl Stage for Shown {
    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        let loan = self.loans.fill(bytes)?;
        self.loans.send(loan)
    }

    fn show_again(&mut self) -> io::Result<()> {
        let loan = self.next.take().ok_or_else(|| io::Error::other("no loan"))?;
        self.loans.send(loan)
    }

    fn wait(&mut self) -> io::Result<()> {
        self.loans.acknowledged.read_exact(&mut [0])?;
        self.acknowledgements += 1;
        // The worker has given the first one up.
        if self.acknowledgements % 6 == 3 {
            self.next = Some(self.loans.fill(&vec![block::BYTE; BIG])?);
        }
        Ok(())
    }

    fn give_up(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn work(name: &str) -> Result<(), Box<dyn Error>> {
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let subscriber = service(&node, name)?.subscriber_builder().create()?;
    let (mut go, mut acknowledge) = (io::stdin().lock(), io::stdout().lock());
    let mut say = || acknowledge.write_all(b"a").and_then(|()| acknowledge.flush());
    say()?;
    while go.read_exact(&mut [0]).is_ok() {
        let sample = subscriber.receive()?.ok_or("no sample")?;
        let bytes = sample.payload();
        black_box(bytes[BIG - 1]);
        say()?;
        touch(|at| bytes[at]);
        say()?;
        drop(sample);
        say()?;
    }
    Ok(())
}

fn start(name: &str) -> io::Result<Child> {
    let own = std::env::current_exe()?;
    Command::new(own).arg(name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

fn main() -> Result<(), Box<dyn Error>> {
    set_log_level(LogLevel::Fatal);
    if let Some(name) = std::env::args().nth(1) {
        return work(&name);
    }
    let name = format!("procession-peers/{}", std::process::id());
    let node = NodeBuilder::new().create::<ipc::Service>()?;
    let service = service(&node, &name)?;
    let publisher = service.publisher_builder().initial_max_slice_len(BIG).max_loaned_samples(2);
    let publisher = publisher.create()?;
    let mut worker = start(&name)?;
    let go = worker.stdin.take().ok_or("no input")?;
    let mut acknowledged = worker.stdout.take().ok_or("no output")?;
    acknowledged.read_exact(&mut [0])?;
    let loans = Loans { publisher, go, acknowledged };
    let mut shown = Shown { loans, next: None, acknowledgements: 0 };
    measure_sharing(&mut shown)?;
    measure_filling(|bytes| shown.loans.fill(bytes))?;
    drop(shown);
    worker.wait()?;
    Ok(())
}
