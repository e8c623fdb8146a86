//! What a pool and its workers say to each other, in one message each way.
//!
//! To a worker goes an assignment: `length u32 | head | arguments`, the head naming the function and, for each task, its
//! ticket and how many bytes and descriptors of the rest are its argument. From a worker comes, for each task as soon as
//! it is done, `ticket u64 | kind u8 | value or error`; and once, first of all, the ticket 0: the worker is ready. One answer
//! stands for several tasks: that all up to this ticket were skipped, as nobody wants them any more.

use procession_core::{Error, ErrorKind, Message, Result};
use procession_process::Panic;
use procession_process::trampoline::{FunctionRef, Reply};
use serde::{Deserialize, Serialize};

use crate::job::Task;

/// Names a task within its pool, for ever. Zero is no task.
pub(crate) type Ticket = u64;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    function: FunctionRef,
    tasks: Vec<TaskHead>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct TaskHead {
    ticket: Ticket,
    bytes: usize,
    handles: usize,
}

/// Makes an assignment of tasks numbered from `first` on.
///
/// The bytes of the arguments are copied, for the case that the worker dies before it gets to them. Their descriptors
/// move: while a worker has them, nobody else shall.
pub(crate) fn assignment(
    function: FunctionRef,
    first: Ticket,
    tasks: &mut [Task],
) -> Result<Message> {
    let heads = tasks.iter().zip(first..).map(|(task, ticket)| TaskHead {
        ticket,
        bytes: task.argument.bytes().len(),
        handles: task.argument.handles().len(),
    });
    let head = Head { function, tasks: heads.collect() };
    let (mut bytes, _none) = Message::encode_behind(vec![0; 4], &head)?.into_parts();
    let length = u32::try_from(bytes.len() - 4).map_err(|_too_long| broken())?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let mut handles = Vec::new();
    for task in tasks {
        bytes.extend_from_slice(task.argument.bytes());
        handles.append(&mut task.argument.take_handles());
    }
    Ok(Message::from_parts(bytes, handles))
}

/// What tells a worker to end: an assignment of nothing.
pub(crate) fn farewell() -> Message {
    Message::from_parts(Vec::new(), Vec::new())
}

/// The function of an assignment, and its tasks in order.
pub(crate) fn read_assignment(
    message: Message,
) -> Result<(FunctionRef, impl Iterator<Item = (Ticket, Message)>)> {
    let (bytes, handles) = message.into_parts();
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(broken)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (head, arguments) = rest.split_at_checked(length).ok_or_else(broken)?;
    let head: Head = Message::decode_parts(head, Vec::new())?;
    let sum = |of: fn(&TaskHead) -> usize| {
        head.tasks.iter().try_fold(0usize, |sum, task| sum.checked_add(of(task)))
    };
    if sum(|task| task.bytes) != Some(arguments.len())
        || sum(|task| task.handles) != Some(handles.len())
    {
        return Err(broken());
    }
    let mut at = bytes.len() - arguments.len();
    let mut handles = handles.into_iter();
    let mut bytes = bytes;
    let only = head.tasks.len() == 1;
    let tasks = head.tasks.into_iter().map(move |task| {
        // A single argument may be large, and is not copied again.
        let argument = match only {
            true => std::mem::take(&mut bytes).split_off(at),
            false => bytes[at..at + task.bytes].to_vec(),
        };
        at += task.bytes;
        let handles = handles.by_ref().take(task.handles).collect();
        (task.ticket, Message::from_parts(argument, handles))
    });
    Ok((head.function, tasks))
}

/// What a worker says about a task.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The function returned; the message is the value.
    Value(Message),
    Panicked(Panic),
    NotCalled(Error),
    Unsendable(Error),
    /// This task and the ones before it that have no answer.
    Skipped,
}

const READY: Ticket = 0;
const HEAD: usize = 9;
const VALUE: u8 = 0;
const PANICKED: u8 = 1;
const NOT_CALLED: u8 = 2;
const UNSENDABLE: u8 = 3;
const SKIPPED: u8 = 4;

fn answer_head(ticket: Ticket, kind: u8) -> Vec<u8> {
    let mut head = ticket.to_le_bytes().to_vec();
    head.push(kind);
    head
}

/// What stands before the value of a task.
pub(crate) fn value_head(ticket: Ticket) -> Vec<u8> {
    answer_head(ticket, VALUE)
}

/// The first message of a worker.
pub(crate) fn ready() -> Message {
    Message::from_parts(answer_head(READY, VALUE), Vec::new())
}

/// The answer to a task that was called, or not.
pub(crate) fn answer(ticket: Ticket, reply: Result<Result<Reply>, Panic>) -> Result<Message> {
    let encode = |kind, error| Message::encode_behind(answer_head(ticket, kind), error);
    match reply {
        Ok(Ok(Reply::Value(message))) => Ok(message),
        Ok(Ok(Reply::Refused(error)) | Err(error)) => encode(NOT_CALLED, &error),
        Ok(Ok(Reply::Unsendable(error))) => encode(UNSENDABLE, &error),
        Err(panic) => Message::encode_behind(answer_head(ticket, PANICKED), &panic),
    }
}

/// The answer to a task whose value did not go through.
pub(crate) fn unsendable(ticket: Ticket, error: &Error) -> Result<Message> {
    Message::encode_behind(answer_head(ticket, UNSENDABLE), error)
}

/// The answer to all tasks up to this one that have none.
pub(crate) fn skipped(ticket: Ticket) -> Message {
    Message::from_parts(answer_head(ticket, SKIPPED), Vec::new())
}

/// What a worker said: about which task, and what; `None` when it is ready.
pub(crate) fn read_answer(mut message: Message) -> Result<Option<(Ticket, Answer)>> {
    let head = message.bytes().first_chunk::<HEAD>().ok_or_else(broken)?;
    let (ticket, kind) = head.split_last_chunk::<1>().ok_or_else(broken)?;
    let ticket = Ticket::from_le_bytes(ticket.try_into().map_err(|_never| broken())?);
    let kind = kind[0];
    if ticket == READY {
        return Ok(None);
    }
    // The content may be large, and from a worker that has lost its mind: it stays where it is.
    message.advance(HEAD);
    Ok(Some((
        ticket,
        match kind {
            VALUE => Answer::Value(message),
            PANICKED => Answer::Panicked(message.decode()?),
            NOT_CALLED => Answer::NotCalled(message.decode()?),
            UNSENDABLE => Answer::Unsendable(message.decode()?),
            SKIPPED => Answer::Skipped,
            _ => return Err(broken()),
        },
    )))
}

fn broken() -> Error {
    Error::new(ErrorKind::Decode, "a pool and its worker do not understand each other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_come_back_task_by_task() {
        let function = FunctionRef::of(|x: u8| x).unwrap();
        let (one, _other) = procession_sys::socket::stream_pair().unwrap();
        let mut tasks = [
            Task::new(0, Message::from_parts(vec![1, 2], Vec::new())),
            Task::new(1, Message::from_parts(Vec::new(), vec![one])),
            Task::new(2, Message::from_parts(vec![3], Vec::new())),
        ];
        let made = assignment(function, 7, &mut tasks).unwrap();
        assert_eq!(tasks[1].argument.handles().len(), 0, "they have moved");
        let (got_function, got) = read_assignment(made).unwrap();
        assert_eq!(got_function, function);
        let got: Vec<_> =
            got.map(|(ticket, m)| (ticket, m.bytes().to_vec(), m.handles().len())).collect();
        assert_eq!(got, [(7, vec![1, 2], 0), (8, vec![], 1), (9, vec![3], 0)]);
    }

    #[test]
    fn truncated_assignments_are_refused() {
        let function = FunctionRef::of(|x: u8| x).unwrap();
        let argument = Message::from_parts(vec![1, 2, 3], Vec::new());
        let mut tasks = [Task::new(0, argument)];
        let whole = assignment(function, 1, &mut tasks).unwrap().into_parts().0;
        for len in 0..whole.len() {
            let cut = Message::from_parts(whole[..len].to_vec(), Vec::new());
            assert!(read_assignment(cut).is_err(), "{len} of {}", whole.len());
        }
    }

    #[test]
    fn nonsense_answers_are_refused() {
        for len in 0..HEAD {
            assert!(read_answer(Message::from_parts(vec![7; len], Vec::new())).is_err());
        }
        let unknown = Message::from_parts(answer_head(3, 99), Vec::new());
        assert!(read_answer(unknown).is_err());
        assert!(read_answer(ready()).unwrap().is_none());
    }
}
