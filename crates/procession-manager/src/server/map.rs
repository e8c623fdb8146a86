//! A map: of dictionaries, sets and namespaces. In the order in which keys came.
//!
//! Keys are compared as bytes. A key's place in the order is a number that grows, by which pages of it are asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use procession_core::Result;

use super::context::{Context, DONE, Flow, Item, no_such_operation};
use super::number;
use crate::wire::{RawItem, Reader, Write, op};

#[derive(Debug, Default)]
pub(super) struct Map {
    slots: HashMap<Arc<[u8]>, Slot>,
    order: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
    /// How often it was cleared: who goes through it page by page wants to know.
    cleared: u64,
}

#[derive(Debug)]
struct Slot {
    place: u64,
    item: Item,
}

impl Map {
    pub(super) fn perform(
        &mut self,
        operation: u8,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Flow> {
        match operation {
            op::GET => {
                let key = context.key(args)?;
                context.show_maybe(self.slots.get(key).map(|slot| &slot.item), out)?;
            }
            op::SET => {
                let key = context.key(args)?;
                let old = self.put(key, args.item()?, context)?;
                if let Some(old) = old {
                    context.let_go(&old);
                }
            }
            op::INSERT => {
                let key = context.key(args)?;
                let old = self.put(key, args.item()?, context)?;
                Self::tell_taken(old.as_ref(), context, out)?;
            }
            op::REMOVE => {
                let key = context.key(args)?;
                let old = self.take(key, context);
                Self::tell_taken(old.as_ref(), context, out)?;
            }
            op::CONTAINS => out.put_u8(self.slots.contains_key(context.key(args)?).into()),
            op::LEN => out.put_u64(self.slots.len() as u64),
            op::CLEAR => self.clear(context),
            op::POP => self.pop(context, out)?,
            op::GET_OR_INSERT => self.get_or_insert(args, context, out)?,
            op::COMPARE => self.compare(args, context, out)?,
            op::ADD => self.add(args, context, out)?,
            op::EXTEND => self.extend(args, context, out)?,
            op::PAGE => self.page(args, context, out)?,
            other => return Err(no_such_operation("map", other)),
        }
        DONE
    }

    /// Puts a value; the one that was there.
    fn put(
        &mut self,
        key: &[u8],
        raw: RawItem<'_>,
        context: &mut Context<'_>,
    ) -> Result<Option<Item>> {
        if let Some(slot) = self.slots.get_mut(key) {
            let item = context.keep(raw)?;
            return Ok(Some(std::mem::replace(&mut slot.item, item)));
        }
        context.charge(key.len() as u64)?;
        let item = context.keep(raw).inspect_err(|_refused| {
            context.budget.used = context.budget.used.saturating_sub(key.len() as u64);
        })?;
        self.insert_new(key, item);
        Ok(None)
    }

    fn insert_new(&mut self, key: &[u8], item: Item) {
        let key: Arc<[u8]> = key.into();
        self.next += 1;
        self.order.insert(self.next, Arc::clone(&key));
        self.slots.insert(key, Slot { place: self.next, item });
    }

    fn take(&mut self, key: &[u8], context: &mut Context<'_>) -> Option<Item> {
        let slot = self.slots.remove(key)?;
        self.order.remove(&slot.place);
        context.budget.used = context.budget.used.saturating_sub(key.len() as u64);
        Some(slot.item)
    }

    fn tell_taken(old: Option<&Item>, context: &mut Context<'_>, out: &mut Vec<u8>) -> Result<()> {
        context.show_maybe(old, out)?;
        if let Some(old) = old {
            context.let_go(old);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, context: &mut Context<'_>) {
        for (key, slot) in self.slots.drain() {
            context.budget.used = context.budget.used.saturating_sub(key.len() as u64);
            context.let_go(&slot.item);
        }
        self.order.clear();
        self.cleared += 1;
    }

    /// Takes out what came last, as Python's `popitem`.
    fn pop(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Result<()> {
        let last = self.order.last_key_value().map(|(_, key)| Arc::clone(key));
        out.put_u8(last.is_some().into());
        if let Some(key) = last {
            out.put_item(&key, &[])?;
            if let Some(item) = self.take(&key, context) {
                context.hand_out(&item, out)?;
            }
        }
        Ok(())
    }

    /// Tells what is there by now, and whether that was there before.
    fn get_or_insert(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let key = context.key(args)?;
        let raw = args.item()?;
        if let Some(slot) = self.slots.get(key) {
            out.put_u8(1);
            return context.show(&slot.item, out);
        }
        self.put(key, raw, context)?;
        out.put_u8(0);
        match self.slots.get(key) {
            Some(slot) => context.show(&slot.item, out),
            None => Ok(()),
        }
    }

    /// Replaces what is there if it is what is expected; tells whether it was, and if not, what is there. Either may be nothing.
    fn compare(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let key = context.key(args)?;
        let (expected, new) = (args.maybe_item()?, args.maybe_item()?);
        let present = self.slots.get(key).map(|slot| &slot.item);
        let is_same = match (present, expected) {
            (None, None) => true,
            (Some(item), Some(raw)) => {
                *item.bytes == *raw.bytes && item.mentions.iter().copied().eq(raw.mentions())
            }
            _ => false,
        };
        out.put_u8(is_same.into());
        if !is_same {
            return context.show_maybe(present, out);
        }
        let old = match new {
            Some(raw) => self.put(key, raw, context)?,
            None => self.take(key, context),
        };
        if let Some(old) = old {
            context.let_go(&old);
        }
        Ok(())
    }

    /// Adds to a number; one that is not there is zero. Tells what was there.
    fn add(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let key = context.key(args)?;
        let (kind, delta) = (args.u8()?, args.bytes()?);
        match self.slots.get_mut(key) {
            Some(slot) => {
                let sum = number::sum(kind, &slot.item.bytes, delta)?;
                context.show(&slot.item, out)?;
                let sum = context.keep(RawItem::plain(&sum))?;
                context.let_go(&std::mem::replace(&mut slot.item, sum));
            }
            None => {
                let zero = number::zero(kind)?;
                let sum = number::sum(kind, &zero, delta)?;
                self.put(key, RawItem::plain(&sum), context)?;
                out.put_item(&zero, &[])?;
            }
        }
        Ok(())
    }

    fn extend(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let mut added = 0;
        for _ in 0..args.u32()? {
            let key = context.key(args)?;
            match self.put(key, args.item()?, context)? {
                Some(old) => context.let_go(&old),
                None => added += 1,
            }
        }
        out.put_u64(added);
        Ok(())
    }

    /// Keys and values behind a place, as many as fit, and the place of the last one; how often it was cleared comes first.
    fn page(
        &mut self,
        args: &mut Reader<'_>,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (behind, items, bytes) = (args.u64()?, args.u32()?, args.u64()?);
        let with_values = args.flag()?;
        out.put_u64(self.cleared);
        let start = out.len();
        let from = behind.saturating_add(1);
        for (place, key) in self.order.range(from..).take(items as usize) {
            if (out.len() - start) as u64 > bytes {
                break;
            }
            out.put_u64(*place);
            out.put_item(key, &[])?;
            if with_values && let Some(slot) = self.slots.get(key) {
                context.show(&slot.item, out)?;
            }
        }
        Ok(())
    }
}
