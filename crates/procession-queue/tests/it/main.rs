//! What queues do, by threads of one process; what needs more processes is tested in `procession-tests`.

mod closing;
mod model;
mod order;
mod payload;
mod waiting;
