//! What queues do, by threads of one process; what needs more processes is tested in `procession-tests`.

mod bytes;
mod closing;
mod handles;
mod leases;
mod model;
mod order;
mod payload;
mod waiting;
mod watch;
