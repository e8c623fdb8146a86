//! What the desk tells of itself.

use std::sync::Arc;
use std::time::Duration;

use procession_sys::clock;

use super::Desk;
use crate::Progress;
use crate::board::Running;
use crate::dispatch::Shared;
use crate::dispatch::seat::Seat;
use crate::job::Job;
use crate::stats::{Stats, TaskStats, WorkerStats};

impl Desk {
    /// How far a task of a job is, as it has said.
    pub(in crate::dispatch) fn progress(
        &self,
        shared: &Shared,
        job: &Arc<Job>,
    ) -> Option<Progress> {
        (0..self.seats.len()).find_map(|seat| {
            let (chunk, place, since) = self.running(shared, seat)?;
            let running = Running { ticket: chunk.ticket, place, since };
            Arc::ptr_eq(&chunk.job, job).then(|| shared.board.progress(seat, &running))?
        })
    }

    /// How many workers stay, and how many of the others wait for somebody to take their place.
    pub(in crate::dispatch) fn staying(&self) -> usize {
        self.seats.iter().flatten().filter(|worker| worker.stays()).count()
    }

    pub(in crate::dispatch) fn retiring(&self) -> usize {
        let is_retiring = |worker: &&Seat| worker.is_retiring && !worker.is_leaving;
        self.seats.iter().flatten().filter(is_retiring).count()
    }

    pub(in crate::dispatch) fn pids(&self) -> Vec<u32> {
        self.seats.iter().flatten().map(|seat| seat.process.pid()).collect()
    }

    /// What the pool has done; without what the system says of its workers.
    pub(in crate::dispatch) fn stats(&self, shared: &Shared) -> Stats {
        let now = clock::nanos();
        let since = |since: u64| Duration::from_nanos(now.saturating_sub(since));
        let mut sum = self.past;
        let mut workers = Vec::new();
        for (seat, worker) in self.seats.iter().enumerate() {
            let Some(worker) = worker else { continue };
            let tally = worker.tally;
            sum.add(&tally);
            let startup = |ready: u64| Duration::from_nanos(ready.saturating_sub(tally.since));
            let task = self.running(shared, seat).map(|(chunk, place, began)| {
                let running = Running { ticket: chunk.ticket, place, since: began };
                TaskStats {
                    index: chunk.first + place as usize,
                    ran_for: since(began),
                    progress: shared.board.progress(seat, &running),
                }
            });
            workers.push(WorkerStats {
                worker: seat,
                pid: worker.process.pid(),
                age: since(tally.since),
                startup: shared.board.ready_since(seat).map(startup),
                tasks: tally.tasks,
                chunks: tally.chunks,
                busy: Duration::from_nanos(tally.busy_nanos),
                bytes_in: tally.bytes_in,
                bytes_out: tally.bytes_out,
                resident: None,
                processor_time: None,
                task,
            });
        }
        let up = self.chunks.iter().flatten().filter(|chunk| chunk.seat.is_none());
        let up: usize = up.map(|chunk| chunk.left() as usize).sum();
        let waiting: usize = self.jobs.iter().map(|job| job.waiting_count()).sum();
        Stats {
            elapsed: since(self.past.since),
            tasks: sum.tasks,
            chunks: sum.chunks,
            busy: Duration::from_nanos(sum.busy_nanos),
            bytes_in: sum.bytes_in,
            bytes_out: sum.bytes_out,
            started: self.started,
            died: self.died,
            waiting: up + waiting,
            workers,
        }
    }
}
