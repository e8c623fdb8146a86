//! What a process shall be: described by its parent, applied by itself before it calls anything.
//!
//! So that a description means the same under every start method, nothing of it is done between `fork` and `exec`, or by
//! whoever happens to fork. The order in which it is applied matters and is that of [`Birth::settle_in`].

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use procession_core::authkey::AuthKey;
use procession_core::family::Invitation;
use procession_core::{Courier, Error, ErrorKind, Handle, Result, lifeline};
use procession_sys::fd::{StandardStream, replace_standard_stream};
use procession_sys::process;
use procession_sys::signal::{self, Disposition, Mask};
use procession_sys::{surroundings, user};
use serde::{Deserialize, Serialize};

use crate::current::{Current, Parent};
use crate::resources::Limit;
use crate::start::{StartMethod, force_start_method};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Birth {
    /// What the child is called.
    pub(crate) name: String,
    /// Its place in the family: `[1, 2]` is the second child of the first child of the root.
    pub(crate) path: Vec<u32>,
    pub(crate) is_daemon: bool,
    pub(crate) parent: Parent,
    pub(crate) authkey: AuthKey,
    /// Its place in the process table.
    pub(crate) invitation: Invitation,
    /// How it starts processes of its own when it does not say how.
    pub(crate) start_method: StartMethod,
    /// The signals that its main thread blocks.
    pub(crate) signal_mask: u64,
    pub(crate) interrupt: OnInterrupt,
    /// The signal that it gets when its parent is gone.
    pub(crate) death_signal: Option<i32>,
    /// Its standard streams, where they are other than those that it has.
    pub(crate) input: Option<Handle<OwnedFd>>,
    pub(crate) output: Option<Handle<OwnedFd>>,
    pub(crate) error_output: Option<Handle<OwnedFd>>,
    pub(crate) settings: Settings,
}

/// What is other than in the parent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) directory: Option<Vec<u8>>,
    pub(crate) process_group: Option<u32>,
    pub(crate) nice: Option<i32>,
    pub(crate) processors: Option<Vec<u16>>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) groups: Option<Vec<u32>>,
}

/// What a child does about the terminal's Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OnInterrupt {
    /// The signal ends it.
    Default,
    /// It ignores the signal, as its parent does.
    Ignore,
    /// It leaves the terminal's to its parent, which handles it; one that a process sends ends it.
    LeaveToParent,
}

impl OnInterrupt {
    /// What a child of this process does.
    pub(crate) fn for_child() -> Result<Self> {
        Ok(match signal::disposition(signal::INTERRUPT)? {
            Disposition::Default => Self::Default,
            Disposition::Ignored => Self::Ignore,
            Disposition::Handled => Self::LeaveToParent,
        })
    }

    fn apply(self) -> Result<()> {
        match self {
            Self::Default => signal::restore_default(signal::INTERRUPT).map(drop)?,
            Self::Ignore => signal::ignore(signal::INTERRUPT).map(drop)?,
            Self::LeaveToParent => signal::ignore_terminal_interrupt()?,
        }
        Ok(())
    }
}

impl Birth {
    /// Makes this process what is described. The tie to its parent, at the other end of `courier`, comes first: from then on
    /// nothing is left of this process when its parent dies.
    pub(crate) fn settle_in(self, courier: &Arc<Courier>) -> Result<()> {
        lifeline::tie(courier, self.death_signal)?;
        self.interrupt.apply()?;
        let streams = [
            (self.input, StandardStream::Input),
            (self.output, StandardStream::Output),
            (self.error_output, StandardStream::Error),
        ];
        for (stream, place) in streams {
            if let Some(stream) = stream {
                replace_standard_stream(&stream, place)?;
            }
        }
        self.settings.apply()?;
        process::set_thread_name(&self.name)?;
        self.authkey.set_current();
        self.invitation.keep()?;
        force_start_method(self.start_method);
        Current::become_child(self.name, self.path, self.is_daemon, self.parent);
        signal::set_thread_mask(Mask::from_bits(self.signal_mask))?;
        Ok(())
    }
}

impl Settings {
    /// Limits and priorities before the user, who may not be allowed to raise them; the directory after it, because that
    /// user must be able to enter it.
    fn apply(self) -> Result<()> {
        if let Some(group) = self.process_group {
            process::set_process_group(group)?;
        }
        for limit in self.limits {
            limit.apply()?;
        }
        if let Some(nice) = self.nice {
            surroundings::set_nice(nice)?;
        }
        if let Some(processors) = self.processors {
            surroundings::set_affinity(&processors)?;
        }
        if self.user.is_some() || self.group.is_some() || self.groups.is_some() {
            user::become_user(self.user, self.group, self.groups.as_deref())?;
        }
        if let Some(directory) = self.directory {
            let directory = PathBuf::from(OsString::from_vec(directory));
            std::env::set_current_dir(&directory).map_err(|error| {
                let text = format!("could not enter {}", directory.display());
                Error::new(ErrorKind::Os, text).caused_by(&error)
            })?;
        }
        Ok(())
    }
}
