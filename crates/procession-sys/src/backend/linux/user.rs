//! The user and the groups that a process acts for.

#![expect(unsafe_code, reason = "calls the C library, which changes all threads at once")]

use rustix::io::Errno;

use super::{call, checked, fail};
use crate::{OsCode, Result};

/// Makes this process act for `user` and `group`, for good: its real, effective and saved numbers all change.
///
/// `groups` are its supplementary groups. When they are `None` and a user or group is given, they are given up, so that those
/// of the former user do not stay: what remains is the one group. Only a process without privileges, which can become nobody
/// but those it already is, keeps them. Where `group` is `None` the group stays as it is: to give up the superuser's rights,
/// give both.
///
/// Call it while there is one thread. With more all follow, but for a moment they act for different users. What is open stays
/// open. When it fails, this process may have changed in part, and should end.
///
/// # Errors
///
/// [`NOT_PERMITTED`](OsCode::NOT_PERMITTED) when this process may not, or the system did it by half;
/// [`INVALID`](OsCode::INVALID) for `u32::MAX`, which is nobody, for numbers that this user namespace does not know, and for
/// too many groups.
///
/// # Source
///
/// `setgroups(2)`, `setresgid(2)`, `setresuid(2)`, each with "C library/kernel differences"; `credentials(7)`.
pub fn become_user(user: Option<u32>, group: Option<u32>, groups: Option<&[u32]>) -> Result<()> {
    let mut numbers = user.iter().chain(&group).chain(groups.unwrap_or_default());
    // The calls take this number for "leave it as it is".
    if numbers.any(|number| *number == u32::MAX) {
        return Err(fail("become", format!("number {}", u32::MAX), Errno::INVAL));
    }
    // Groups first: who has given up the superuser's rights may not change them.
    match groups {
        Some(groups) => set_groups(groups)?,
        None if user.is_some() || group.is_some() => give_up_groups(user, group)?,
        None => {}
    }
    if let Some(group) = group {
        let subject = || format!("group {group}");
        let change = || {
            // SAFETY: The call takes numbers only.
            checked(unsafe { libc::setresgid(group, group, group) })
        };
        call("become", subject, change)?;
        verified(group_numbers()?, group).map_err(|code| fail("become", subject(), code))?;
    }
    if let Some(user) = user {
        let subject = || format!("user {user}");
        let change = || {
            // SAFETY: The call takes numbers only.
            checked(unsafe { libc::setresuid(user, user, user) })
        };
        call("become", subject, change)?;
        verified(user_numbers()?, user).map_err(|code| fail("become", subject(), code))?;
    }
    Ok(())
}

fn give_up_groups(user: Option<u32>, group: Option<u32>) -> Result<()> {
    let (users, groups) = (user_numbers()?, group_numbers()?);
    let effective = groups[1];
    match set_groups(&[group.unwrap_or(effective)]) {
        // Whoever may not change its groups, but may change its user, must not do the one without the other.
        Err(error)
            if error.code() == OsCode::NOT_PERMITTED
                && user.is_none_or(|user| users.contains(&user))
                && group.is_none_or(|group| groups.contains(&group)) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn set_groups(groups: &[u32]) -> Result<()> {
    let change = || {
        // SAFETY: The pointer is valid for the length.
        checked(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })
    };
    call("change the groups to", || format!("{groups:?}"), change)
}

/// The real, the effective and the saved user.
fn user_numbers() -> Result<[u32; 3]> {
    let [mut real, mut effective, mut saved] = [0; 3];
    call("read the user", String::new, || {
        // SAFETY: The pointers are to locals.
        checked(unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) })
    })?;
    Ok([real, effective, saved])
}

/// The real, the effective and the saved group.
fn group_numbers() -> Result<[u32; 3]> {
    let [mut real, mut effective, mut saved] = [0; 3];
    call("read the group", String::new, || {
        // SAFETY: The pointers are to locals.
        checked(unsafe { libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved) })
    })?;
    Ok([real, effective, saved])
}

fn verified(now: [u32; 3], wanted: u32) -> rustix::io::Result<()> {
    if now == [wanted; 3] { Ok(()) } else { Err(Errno::PERM) }
}

#[cfg(test)]
mod tests {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    use super::super::testing::alone;
    use super::*;

    /// Numbers that nobody has, and different ones.
    const USER: u32 = 51_234;
    const GROUP: u32 = 52_345;
    const OTHERS: [u32; 2] = [53_456, 54_567];

    /// Only the superuser can become another user; everybody else makes the rest of the tests.
    fn as_superuser(check: impl FnOnce()) {
        alone(|| {
            if user_numbers() == Ok([0; 3]) {
                check();
            }
        });
    }

    fn groups() -> Vec<u32> {
        let mut groups = vec![0; 65_536];
        // SAFETY: The pointer is valid for the length.
        let length = unsafe { libc::getgroups(65_536, groups.as_mut_ptr()) };
        groups.truncate(usize::try_from(length).unwrap());
        groups
    }

    fn refusal(user: Option<u32>, group: Option<u32>, groups: Option<&[u32]>) -> OsCode {
        become_user(user, group, groups).unwrap_err().code()
    }

    #[test]
    fn another_user_keeps_nothing_of_the_superuser() {
        as_superuser(|| {
            set_groups(&OTHERS).unwrap();
            become_user(Some(USER), Some(GROUP), None).unwrap();
            assert_eq!(user_numbers(), Ok([USER; 3]));
            assert_eq!(group_numbers(), Ok([GROUP; 3]));
            assert_eq!(groups(), [GROUP]);
            assert_eq!(capabilities(None).unwrap().permitted, CapabilitySet::empty());
            for user in [0, USER + 1] {
                assert_eq!(refusal(Some(user), None, None), OsCode::NOT_PERMITTED);
            }
            assert_eq!(refusal(None, Some(0), None), OsCode::NOT_PERMITTED);
            assert_eq!(refusal(None, None, Some(&[0])), OsCode::NOT_PERMITTED);
        });
    }

    #[test]
    fn groups_that_are_given_are_taken() {
        as_superuser(|| {
            become_user(Some(USER), Some(GROUP), Some(&OTHERS)).unwrap();
            assert_eq!(groups(), OTHERS);
        });
        as_superuser(|| {
            become_user(None, None, Some(&OTHERS)).unwrap();
            assert_eq!((groups(), user_numbers()), (OTHERS.to_vec(), Ok([0; 3])));
            become_user(None, None, Some(&[])).unwrap();
            assert_eq!(groups(), [0; 0]);
        });
    }

    #[test]
    fn a_user_alone_keeps_its_group_and_no_others() {
        as_superuser(|| {
            set_groups(&OTHERS).unwrap();
            become_user(Some(USER), None, None).unwrap();
            assert_eq!((groups(), group_numbers()), (vec![0], Ok([0; 3])));
        });
    }

    #[test]
    fn nobody_who_must_keep_the_groups_becomes_another_user() {
        as_superuser(|| {
            set_groups(&OTHERS).unwrap();
            let mut sets = capabilities(None).unwrap();
            sets.effective.remove(CapabilitySet::SETGID);
            sets.permitted.remove(CapabilitySet::SETGID);
            sets.inheritable = CapabilitySet::empty();
            set_capabilities(None, sets).unwrap();
            assert_eq!(refusal(Some(USER), None, None), OsCode::NOT_PERMITTED);
            assert_eq!((groups(), user_numbers()), (OTHERS.to_vec(), Ok([0; 3])));
        });
    }

    #[test]
    fn everybody_may_become_who_they_are() {
        alone(|| {
            if user_numbers() == Ok([0; 3]) {
                become_user(Some(USER), Some(GROUP), Some(&OTHERS)).unwrap();
            }
            let before = (user_numbers().unwrap(), group_numbers().unwrap(), groups());
            become_user(Some(before.0[0]), Some(before.1[0]), None).unwrap();
            become_user(None, None, None).unwrap();
            let after = (user_numbers().unwrap(), group_numbers().unwrap(), groups());
            assert_eq!(after, before);
            assert_eq!(refusal(Some(0), None, None), OsCode::NOT_PERMITTED);
        });
    }

    #[test]
    fn the_number_that_changes_nothing_is_refused() {
        const NOBODY: u32 = u32::MAX;
        assert_eq!(refusal(Some(NOBODY), None, None), OsCode::INVALID);
        assert_eq!(refusal(None, Some(NOBODY), None), OsCode::INVALID);
        assert_eq!(refusal(None, None, Some(&[0, NOBODY])), OsCode::INVALID);
    }
}
