//! A list: of lists, arrays and single values.

use std::collections::VecDeque;

use procession_core::{Error, ErrorKind, Result};

use super::context::{Context, DONE, Flow, Item, no_such_operation};
use super::number;
use crate::wire::{RawItem, Reader, Write, op};

#[derive(Debug, Default)]
pub(super) struct List {
    items: VecDeque<Item>,
    /// Grows with each change: who computes a new content out of the old one compares it.
    version: u64,
}

impl List {
    pub(super) fn perform(
        &mut self,
        operation: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        match operation {
            op::LEN => out.put_u64(self.items.len() as u64),
            op::VERSION => out.put_u64(self.version),
            op::GET => {
                let at = self.place(args.i64()?);
                context.show_maybe(at.map(|at| &self.items[at]), out)?;
            }
            op::PAGE => self.page(args, context, out)?,
            op::CONTAINS | op::FIND_EQUAL | op::COUNT_EQUAL => self.look(operation, args, out)?,
            _ => return self.change(operation, args, context, out),
        }
        DONE
    }

    fn change(
        &mut self,
        operation: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        match operation {
            op::SET => {
                let at = self.place_or_error(args.i64()?)?;
                let item = context.keep(args.item()?)?;
                context.let_go(&std::mem::replace(&mut self.items[at], item));
            }
            op::INSERT => {
                let at = self.place_or_error(args.i64()?)?;
                let item = context.keep(args.item()?)?;
                context.hand_out(&std::mem::replace(&mut self.items[at], item), out)?;
            }
            op::PUSH => {
                let item = context.keep(args.item()?)?;
                self.items.push_back(item);
            }
            op::SQUEEZE_IN => {
                let at = self.place_to_squeeze_in(args.i64()?)?;
                let item = context.keep(args.item()?)?;
                self.items.insert(at, item);
            }
            op::REMOVE | op::POP => {
                let at = self.place(args.i64()?);
                let item = at.and_then(|at| self.items.remove(at));
                context.show_maybe(item.as_ref(), out)?;
                if let Some(item) = item {
                    context.let_go(&item);
                }
            }
            op::EXTEND => self.items.extend(context.keep_many(args)?),
            op::REVERSE => self.items.make_contiguous().reverse(),
            op::CLEAR => self.clear(context),
            op::COMPARE => self.compare(args, context, out)?,
            op::ADD => self.add(args, context, out)?,
            op::REPLACE => self.replace(args, context, out)?,
            other => return Err(no_such_operation("list", other)),
        }
        self.version += 1;
        DONE
    }

    /// The place that a number names, from the end when it is below zero.
    fn place(&self, number: i64) -> Option<usize> {
        let len = i64::try_from(self.items.len()).ok()?;
        let at = if number < 0 { number.checked_add(len)? } else { number };
        usize::try_from(at).ok().filter(|at| *at < self.items.len())
    }

    fn place_or_error(&self, number: i64) -> Result<usize> {
        self.place(number).ok_or_else(|| self.no_place(number))
    }

    fn place_to_squeeze_in(&self, number: i64) -> Result<usize> {
        let at = usize::try_from(number).ok().filter(|at| *at <= self.items.len());
        at.ok_or_else(|| self.no_place(number))
    }

    fn no_place(&self, number: i64) -> Error {
        let len = self.items.len();
        Error::new(ErrorKind::NotFound, format!("there is no place {number} in a list of {len}"))
    }

    fn look(&self, operation: u8, args: &mut Reader<'_>, out: &mut Vec<u8>) -> Result<()> {
        let raw = args.item()?;
        let is_same = |item: &&Item| *item.bytes == *raw.bytes;
        match operation {
            op::COUNT_EQUAL => out.put_u64(self.items.iter().filter(is_same).count() as u64),
            _ => {
                let at = self.items.iter().position(|item| is_same(&item));
                out.put_u64(at.map_or(u64::MAX, |at| at as u64));
            }
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, context: &mut Context<'_>) {
        for item in std::mem::take(&mut self.items) {
            context.let_go(&item);
        }
    }

    fn compare(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let at = self.place_or_error(args.i64()?)?;
        let (expected, new) = (args.item()?, args.item()?);
        let present = &self.items[at];
        let is_same = *present.bytes == *expected.bytes
            && present.mentions.iter().copied().eq(expected.mentions());
        out.put_u8(is_same.into());
        if !is_same {
            return context.show(&self.items[at], out);
        }
        let new = context.keep(new)?;
        context.let_go(&std::mem::replace(&mut self.items[at], new));
        Ok(())
    }

    fn add(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let at = self.place_or_error(args.i64()?)?;
        let (kind, delta) = (args.u8()?, args.bytes()?);
        let sum = number::sum(kind, &self.items[at].bytes, delta)?;
        context.show(&self.items[at], out)?;
        let sum = context.keep(RawItem::plain(&sum))?;
        context.let_go(&std::mem::replace(&mut self.items[at], sum));
        Ok(())
    }

    /// Replaces all, if nothing has changed since; tells whether it has not.
    fn replace(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let version = args.u64()?;
        let is_same = version == self.version;
        if is_same {
            let items = context.keep_many(args)?.into();
            for old in std::mem::replace(&mut self.items, items) {
                context.let_go(&old);
            }
        } else {
            args.0 = &[];
        }
        out.put_u8(is_same.into());
        Ok(())
    }

    /// The version, and items from a place on, as many as fit.
    fn page(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (from, items, bytes) = (args.u64()?, args.u32()?, args.u64()?);
        out.put_u64(self.version);
        let start = out.len();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.items.len());
        for item in self.items.range(from..).take(items as usize) {
            if (out.len() - start) as u64 > bytes {
                break;
            }
            context.show(item, out)?;
        }
        Ok(())
    }
}
