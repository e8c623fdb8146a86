//! Whether what an object stands for can be put to another use.

use procession_sys::claim;
use procession_sys::prim::Ordering::SeqCst;
use procession_sys::prim::fence;

use super::{Object, local};
use crate::Result;

impl Object {
    /// Whether this is the only handle in all processes, and no message with the object is under way: from now on nobody gets it but
    /// from the caller, who does not clone or send it meanwhile.
    ///
    /// A process that is known to be dead does not have it, recovered or not. A `fork` that nobody here knew of is not seen until
    /// its first use of any object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Os`](crate::ErrorKind::Os) when the system is out of memory, or in theory when it cannot tell about messages.
    pub fn is_unshared(&self) -> Result<bool> {
        let heap = self.family.heap();
        // Nobody in this process receives it meanwhile.
        let _ours = local::lock()?;
        if !local::is_only(self.number) {
            return Ok(false);
        }
        // ORDERING: the header, the holders, the notes, the header again: as whoever frees it looks (`docs/arena.md`, "An object
        // goes"). If the look at the holders misses somebody who has received it, the receipt was counted since, or the message is
        // still out.
        fence(SeqCst);
        let Some(header) = heap.header(self.number) else { return Ok(false) };
        if self.others().next().is_some() {
            return Ok(false);
        }
        if heap.notes(self.number).is_out()
            && claim::is_claimed(self.family.table.words(), self.number)?
        {
            return Ok(false);
        }
        fence(SeqCst);
        Ok(heap.header(self.number) == Some(header) && self.is_there())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::{Kind, Object};
    use crate::Message;

    #[derive(serde::Serialize)]
    struct Sent<'a>(#[serde(serialize_with = "send")] &'a Object);

    fn send<S: serde::Serializer>(object: &Object, serializer: S) -> Result<S::Ok, S::Error> {
        object.serialize(serializer)
    }

    #[test]
    fn an_object_in_a_message_is_shared_until_that_is_gone() {
        let object = Object::new(Kind::TEST, 1, |_, _| {}).unwrap();
        assert!(object.is_unshared().unwrap());
        let message = Message::encode(&Sent(&object)).unwrap();
        assert!(!object.is_unshared().unwrap());
        drop(message);
        assert!(object.is_unshared().unwrap());
        let clone = object.clone();
        assert!(!object.is_unshared().unwrap() && !clone.is_unshared().unwrap());
        drop(clone);
        assert!(object.is_unshared().unwrap());
    }

    #[test]
    fn an_object_that_another_process_has_is_shared_until_that_is_dead() {
        let object = Object::new(Kind::TEST, 1, |_, _| {}).unwrap();
        let child = object.family().reserve().unwrap();
        let mut child = child;
        child.hold(object.number()).unwrap();
        assert!(!object.is_unshared().unwrap());
        drop(child);
        assert!(object.is_unshared().unwrap());
    }
}
