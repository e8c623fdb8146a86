//! The machine that runs a pickle: a stack, a memo, and an arena of what has been made.
//!
//! Whatever has parts is a [`Node`] of the arena, and its parts are [`Item`]s, which are small and name nodes by number. So a thing that
//! is mentioned twice is one node, what contains itself is a circle of numbers, and nothing here is ever nested. Nodes that
//! a pickle makes are made; nothing is called.

use std::collections::HashMap;

use procession_core::Result;

use super::budget::Budget;
use super::opcode::*;
use super::text::{self, Text};
use super::{nonsense, unsupported};
use crate::int::BigInt;
use crate::value::{Global, How, Value};

/// A value as a part of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Node(u32),
}

/// A value with a place of its own.
#[derive(Debug)]
pub(crate) enum Node {
    /// A leaf: a text, bytes, a large integer, a name.
    Leaf(Value),
    List(Vec<Item>),
    Tuple(Vec<Item>),
    /// Keys and values by turns.
    Dict(Vec<Item>),
    Set(Vec<Item>),
    FrozenSet(Vec<Item>),
    Call(Box<Call>),
    /// Where a node has been that is being made into a value.
    Out,
}

/// Something that Python would call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) how: How,
    pub(crate) class: Item,
    pub(crate) args: Item,
    pub(crate) kwargs: Item,
    pub(crate) items: Vec<Item>,
    /// Keys and values by turns.
    pub(crate) pairs: Vec<Item>,
    pub(crate) state: Option<Item>,
}

/// What a pickle has made.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Item,
}

/// Runs a pickle.
pub(crate) fn run(pickle: &[u8], budget: &mut Budget) -> Result<Arena> {
    let mut machine = Machine {
        rest: pickle,
        budget,
        protocol: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::default(),
    };
    loop {
        let opcode = machine.u8()?;
        if opcode == STOP {
            break;
        }
        machine.step(opcode)?;
    }
    if !machine.rest.is_empty() {
        return Err(nonsense(format_args!("{} bytes behind its end", machine.rest.len())));
    }
    let root = machine.pop()?;
    match machine.stack.is_empty() && machine.marks.is_empty() {
        true => Ok(Arena { nodes: machine.nodes, root }),
        false => Err(nonsense("it ends with more than one value")),
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    budget: &'a mut Budget,
    protocol: u8,
    nodes: Vec<Node>,
    stack: Vec<Item>,
    /// How high the stack was at each mark that is on it.
    marks: Vec<usize>,
    memo: Memo,
}

/// What can be mentioned again, by number. CPython numbers from zero on; a number that does not follow goes into the map.
#[derive(Default)]
struct Memo {
    dense: Vec<Item>,
    sparse: HashMap<u32, Item>,
}

impl Memo {
    fn put(&mut self, number: u32, item: Item) {
        let place = number as usize;
        let next = self.dense.len();
        match self.dense.get_mut(place) {
            Some(known) => *known = item,
            None if place == next => self.dense.push(item),
            None => drop(self.sparse.insert(number, item)),
        }
    }

    fn get(&self, number: u32) -> Option<Item> {
        self.dense.get(number as usize).or_else(|| self.sparse.get(&number)).copied()
    }

    /// The number that `MEMOIZE` gives.
    fn next(&self) -> Result<u32> {
        u32::try_from(self.dense.len() + self.sparse.len())
            .map_err(|_too_large| nonsense("its memo is full"))
    }
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            PROTO => {
                self.protocol = self.u8()?;
                if !(2..=5).contains(&self.protocol) {
                    return Err(unsupported(format_args!("protocol {}", self.protocol)));
                }
            }
            // How far CPython may read ahead.
            FRAME => drop(self.take(8)?),
            MARK => self.marks.push(self.stack.len()),
            POP => self.discard()?,
            POP_MARK => {
                let height = self.marks.pop().ok_or_else(|| nonsense("no mark"))?;
                while self.stack.len() > height {
                    self.discard()?;
                }
            }
            DUP => {
                let top = self.top()?;
                self.push(top)?;
            }
            MEMOIZE => {
                let number = self.memo.next()?;
                self.memoize(number)?;
            }
            BINPUT | LONG_BINPUT => {
                let number = self.number_of(opcode, BINPUT)?;
                self.memoize(number)?;
            }
            BINGET | LONG_BINGET => {
                let number = self.number_of(opcode, BINGET)?;
                let item = self.memo.get(number);
                self.push(item.ok_or_else(|| nonsense("a number that its memo does not have"))?)?;
            }
            NONE => self.push(Item::None)?,
            NEWTRUE => self.push(Item::Bool(true))?,
            NEWFALSE => self.push(Item::Bool(false))?,
            BINFLOAT => {
                let number = f64::from_be_bytes(self.chunk()?);
                self.push(Item::Float(number))?;
            }
            BININT1 | BININT2 | BININT | LONG1 | LONG4 => self.integer(opcode)?,
            BINUNICODE | SHORT_BINUNICODE | BINUNICODE8 => self.text(opcode)?,
            BINBYTES | SHORT_BINBYTES | BINBYTES8 | BYTEARRAY8 => self.bytes(opcode)?,
            GLOBAL | STACK_GLOBAL => self.global(opcode)?,
            EMPTY_TUPLE | TUPLE1 | TUPLE2 | TUPLE3 | TUPLE => self.tuple(opcode)?,
            EMPTY_LIST => self.make(Node::List(Vec::new()))?,
            EMPTY_DICT => self.make(Node::Dict(Vec::new()))?,
            EMPTY_SET => self.make(Node::Set(Vec::new()))?,
            FROZENSET => {
                let items = self.pop_to_mark()?;
                self.make(Node::FrozenSet(items))?;
            }
            APPEND | APPENDS | SETITEM | SETITEMS | ADDITEMS => self.extend(opcode)?,
            REDUCE | NEWOBJ | NEWOBJ_EX => self.call(opcode)?,
            BUILD => self.build()?,
            NEXT_BUFFER | READONLY_BUFFER => return Err(unsupported("buffers out of band")),
            EXT1 | EXT2 | EXT4 => return Err(unsupported("names by number")),
            b'P' | b'Q' => return Err(unsupported("persistent names")),
            other => return Err(nonsense(format_args!("an opcode {other:#04x}"))),
        }
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<()> {
        let number = match opcode {
            BININT1 => i64::from(self.u8()?),
            BININT2 => i64::from(u16::from_le_bytes(self.chunk()?)),
            BININT => i64::from(i32::from_le_bytes(self.chunk()?)),
            _ => {
                let len = match opcode {
                    LONG1 => usize::from(self.u8()?),
                    _ => self.length_of_four()?,
                };
                match BigInt::from_le_bytes(self.take(len)?) {
                    Value::Int(small) => small,
                    big => return self.leaf(big, len),
                }
            }
        };
        self.push(Item::Int(number))
    }

    fn text(&mut self, opcode: u8) -> Result<()> {
        let len = match opcode {
            SHORT_BINUNICODE => usize::from(self.u8()?),
            BINUNICODE => self.length_of_four()?,
            _ => self.length_of_eight()?,
        };
        let bytes = self.take(len)?;
        self.budget.pay(len)?;
        let text = match text::read(bytes)? {
            Text::Plain(text) => Value::Str(text),
            Text::Surrogates(bytes) => Value::Surrogates(bytes),
        };
        self.leaf(text, 0)
    }

    fn bytes(&mut self, opcode: u8) -> Result<()> {
        let len = match opcode {
            SHORT_BINBYTES => usize::from(self.u8()?),
            BINBYTES => self.length_of_four()?,
            _ => self.length_of_eight()?,
        };
        let bytes = self.take(len)?;
        self.budget.pay(len)?;
        let bytes = bytes.to_vec();
        match opcode {
            BYTEARRAY8 => self.leaf(Value::ByteArray(bytes), 0),
            _ => self.leaf(Value::Bytes(bytes), 0),
        }
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let (module, name) = match opcode {
            GLOBAL => (self.line()?, self.line()?),
            _ => {
                let (name, module) = (self.pop()?, self.pop()?);
                (self.name(module)?, self.name(name)?)
            }
        };
        let global = match self.protocol {
            0..=2 => super::python2::now(module, name),
            _ => Global { module, name },
        };
        let len = global.module.len() + global.name.len() + size_of::<Global>();
        self.leaf(global.into(), len)
    }

    fn tuple(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            EMPTY_TUPLE => Vec::new(),
            TUPLE => self.pop_to_mark()?,
            _ => {
                let len = usize::from(opcode - TUPLE1) + 1;
                let floor = self.floor();
                let start = self.stack.len().checked_sub(len).filter(|start| *start >= floor);
                self.pay_for_items(len)?;
                self.stack.split_off(start.ok_or_else(empty)?)
            }
        };
        self.make(Node::Tuple(items))
    }

    /// Puts items into what lies under them.
    fn extend(&mut self, opcode: u8) -> Result<()> {
        let start = match opcode {
            APPEND => self.stack.len().checked_sub(1),
            SETITEM => self.stack.len().checked_sub(2),
            _ => self.marks.pop(),
        };
        let floor = self.floor();
        let start = start.filter(|start| *start > floor).ok_or_else(empty)?;
        self.pay_for_items(self.stack.len() - start)?;
        let Item::Node(target) = self.stack[start - 1] else {
            return Err(nonsense("items for what takes none"));
        };
        let items = self.stack.drain(start..);
        let is_pairs = matches!(opcode, SETITEM | SETITEMS);
        if is_pairs && !items.len().is_multiple_of(2) {
            return Err(nonsense("a key without a value"));
        }
        match (&mut self.nodes[target as usize], opcode) {
            (Node::List(list), APPEND | APPENDS) => list.extend(items),
            (Node::Dict(dict), SETITEM | SETITEMS) => dict.extend(items),
            (Node::Set(set), ADDITEMS) => set.extend(items),
            // What was set before would be overwritten by Python in this order only.
            (Node::Call(call), APPEND | APPENDS) if call.state.is_none() => {
                call.items.extend(items);
            }
            (Node::Call(call), SETITEM | SETITEMS) if call.state.is_none() => {
                call.pairs.extend(items);
            }
            _ => return Err(nonsense("items for what takes none of these")),
        }
        Ok(())
    }

    fn call(&mut self, opcode: u8) -> Result<()> {
        let kwargs = if opcode == NEWOBJ_EX { self.pop()? } else { Item::None };
        let (args, class) = (self.pop()?, self.pop()?);
        let is_tuple =
            matches!(args, Item::Node(node) if matches!(self.nodes[node as usize], Node::Tuple(_)));
        if !is_tuple || !matches!(class, Item::Node(_)) {
            return Err(nonsense("a call of nothing, or with no arguments"));
        }
        let how = match opcode {
            REDUCE => How::Call,
            NEWOBJ => How::New,
            _ => How::NewWithKeywords,
        };
        let (items, pairs) = (Vec::new(), Vec::new());
        self.budget.pay(size_of::<Call>())?;
        self.make(Node::Call(Box::new(Call {
            how,
            class,
            args,
            kwargs,
            items,
            pairs,
            state: None,
        })))
    }

    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = match self.top()? {
            Item::Node(target) => &mut self.nodes[target as usize],
            _ => return Err(nonsense("a state for what has none")),
        };
        match target {
            Node::Call(call) if call.state.is_none() => {
                call.state = Some(state);
                Ok(())
            }
            Node::Call(_) => Err(unsupported("a state that is set twice")),
            _ => Err(nonsense("a state for what has none")),
        }
    }

    /// Makes a node, and puts it on the stack.
    fn make(&mut self, node: Node) -> Result<()> {
        self.budget.pay(size_of::<Node>())?;
        let number =
            u32::try_from(self.nodes.len()).map_err(|_too_large| nonsense("too many values"))?;
        self.nodes.push(node);
        self.push(Item::Node(number))
    }

    fn leaf(&mut self, value: Value, more_bytes: usize) -> Result<()> {
        self.budget.pay(more_bytes)?;
        self.make(Node::Leaf(value))
    }

    fn memoize(&mut self, number: u32) -> Result<()> {
        let top = self.top()?;
        self.budget.pay(size_of::<Item>())?;
        self.memo.put(number, top);
        Ok(())
    }

    fn pay_for_items(&mut self, count: usize) -> Result<()> {
        self.budget.pay(count.saturating_mul(size_of::<Item>()))
    }

    #[inline(always)]
    fn push(&mut self, item: Item) -> Result<()> {
        self.budget.pay(size_of::<Item>())?;
        self.stack.push(item);
        Ok(())
    }

    /// Below which nothing may be popped.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Item> {
        match self.stack.len() > self.floor() {
            true => self.stack.last().copied().ok_or_else(empty),
            false => Err(empty()),
        }
    }

    fn pop(&mut self) -> Result<Item> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Item>> {
        let height = self.marks.pop().ok_or_else(|| nonsense("no mark"))?;
        self.pay_for_items(self.stack.len().saturating_sub(height))?;
        match height <= self.stack.len() {
            true => Ok(self.stack.split_off(height)),
            false => Err(empty()),
        }
    }

    /// Throws the top away. A call is thrown away where it was made for its effect on something else, which would be missing.
    fn discard(&mut self) -> Result<()> {
        match self.pop()? {
            Item::Node(node) if matches!(self.nodes[node as usize], Node::Call(_)) => {
                Err(unsupported("a function is called for its effect"))
            }
            _ => Ok(()),
        }
    }

    fn name(&self, item: Item) -> Result<String> {
        match item {
            Item::Node(node) => match &self.nodes[node as usize] {
                Node::Leaf(Value::Str(text)) => Ok(text.clone()),
                _ => Err(nonsense("a name that is no text")),
            },
            _ => Err(nonsense("a name that is no text")),
        }
    }

    /// The number of an entry of the memo: of one byte with the opcode `short`, otherwise of four.
    fn number_of(&mut self, opcode: u8, short: u8) -> Result<u32> {
        match opcode == short {
            true => self.u8().map(u32::from),
            false => self.chunk().map(u32::from_le_bytes),
        }
    }

    fn length_of_four(&mut self) -> Result<usize> {
        usize::try_from(u32::from_le_bytes(self.chunk()?)).map_err(|_too_large| cut_off())
    }

    fn length_of_eight(&mut self) -> Result<usize> {
        usize::try_from(u64::from_le_bytes(self.chunk()?)).map_err(|_too_large| cut_off())
    }

    fn u8(&mut self) -> Result<u8> {
        let (byte, rest) = self.rest.split_first().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(*chunk)
    }
}

fn empty() -> procession_core::Error {
    nonsense("its stack is empty")
}

fn cut_off() -> procession_core::Error {
    nonsense("it is cut off")
}

impl<'a> Machine<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Up to the end of a line.
    fn line(&mut self) -> Result<String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or_else(cut_off)?;
        let line =
            str::from_utf8(self.take(end)?).map_err(|_no_text| nonsense("a name is no text"))?;
        self.u8()?;
        Ok(line.to_owned())
    }
}
