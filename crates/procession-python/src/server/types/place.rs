//! Places in sequences, as Python has them: from the end, when they are negative, and slices.

use super::super::arguments::integer;
use super::super::managed::raise;
use crate::value::{Exception, Value};

/// One place, or some.
pub(super) enum Place {
    One(usize),
    /// In the order in which they are meant.
    Some(Vec<usize>),
}

impl Place {
    /// What a subscript means in a sequence of so many items.
    ///
    /// # Errors
    ///
    /// `IndexError` beyond its ends, `TypeError` for what is no place.
    pub(super) fn of(subscript: &Value, len: usize) -> Result<Self, Exception> {
        match subscript {
            Value::Slice(parts) => slice(parts, len).map(Self::Some),
            other => one(integer(other)?, len).map(Self::One),
        }
    }
}

/// A place in a sequence of so many items.
pub(super) fn one(place: i64, len: usize) -> Result<usize, Exception> {
    let from_start = match usize::try_from(place) {
        Ok(place) => Some(place),
        Err(_negative) => {
            usize::try_from(place.unsigned_abs()).ok().and_then(|back| len.checked_sub(back))
        }
    };
    let place = from_start.filter(|place| *place < len);
    place.ok_or_else(|| raise("IndexError", "list index out of range"))
}

/// A place before which something is put: beyond the ends is at the ends.
pub(super) fn clamped(place: i64, len: usize) -> usize {
    match usize::try_from(place) {
        Ok(place) => place.min(len),
        Err(_negative) => {
            usize::try_from(place.unsigned_abs()).map_or(0, |back| len.saturating_sub(back))
        }
    }
}

/// CPython's `PySlice_AdjustIndices`.
fn slice(parts: &[Value; 3], len: usize) -> Result<Vec<usize>, Exception> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let part = |value: &Value| match value {
        Value::None => Ok(None),
        other => integer(other).map(Some),
    };
    let step = part(&parts[2])?.unwrap_or(1);
    if step == 0 {
        return Err(raise("ValueError", "slice step cannot be zero"));
    }
    let (least, most) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp = |value: i64| {
        let value = if value < 0 { value.saturating_add(len) } else { value };
        value.clamp(least, most)
    };
    let start = part(&parts[0])?.map_or(if step > 0 { least } else { most }, clamp);
    let stop = part(&parts[1])?.map_or(if step > 0 { most } else { least }, clamp);
    let mut places = Vec::new();
    let mut place = Some(start);
    while let Some(next) =
        place.filter(|place| if step > 0 { *place < stop } else { *place > stop })
    {
        // Between the ends it is not negative.
        places.extend(usize::try_from(next).ok());
        place = next.checked_add(step);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(start: Option<i64>, stop: Option<i64>, step: Option<i64>) -> Vec<usize> {
        let slice = Value::Slice(Box::new([start.into(), stop.into(), step.into()]));
        match Place::of(&slice, 5).unwrap() {
            Place::Some(places) => places,
            Place::One(_) => panic!("one"),
        }
    }

    #[test]
    fn slices_are_pythons() {
        assert_eq!(places(None, None, None), [0, 1, 2, 3, 4]);
        assert_eq!(places(Some(1), Some(-1), None), [1, 2, 3]);
        assert_eq!(places(None, None, Some(-1)), [4, 3, 2, 1, 0]);
        assert_eq!(places(Some(-100), Some(100), Some(2)), [0, 2, 4]);
        assert_eq!(places(Some(3), Some(0), Some(-2)), [3, 1]);
        assert_eq!(places(Some(100), None, Some(-3)), [4, 1]);
        assert!(places(Some(3), Some(1), None).is_empty());
        assert_eq!(places(Some(0), None, Some(i64::MAX)), [0]);
        assert_eq!(places(Some(4), None, Some(i64::MIN)), [4]);
    }

    #[test]
    fn places_count_from_both_ends() {
        assert_eq!((one(0, 2).ok(), one(-1, 2).ok(), one(-2, 2).ok()), (Some(0), Some(1), Some(0)));
        for beyond in [2, -3, i64::MIN, i64::MAX] {
            assert!(one(beyond, 2).unwrap_err().is("IndexError"));
        }
        assert_eq!((clamped(-9, 2), clamped(-1, 2), clamped(9, 2)), (0, 1, 2));
    }
}
