//! From what a pickle has made to a tree of values.
//!
//! A node that is mentioned once moves; one that is mentioned more often is copied, but for the last time. Copies multiply, so
//! they have a budget of their own.

use procession_core::Result;

use super::budget::Budget;
use super::reader::{Arena, Call, Item, Node};
use super::{known, unsupported};
use crate::value::{Object, Value};

pub(crate) fn grow(arena: Arena, budget: &mut Budget) -> Result<Value> {
    let Arena { nodes, root } = arena;
    budget.pay(nodes.len().saturating_mul(size_of::<u32>()))?;
    let mut uses = vec![0u32; nodes.len()];
    let mut count = |item: &Item| {
        if let Item::Node(node) = item {
            let uses = &mut uses[*node as usize];
            *uses = uses.saturating_add(1);
        }
    };
    count(&root);
    for node in &nodes {
        match node {
            Node::Leaf(_) | Node::Out => {}
            Node::List(items)
            | Node::Tuple(items)
            | Node::Dict(items)
            | Node::Set(items)
            | Node::FrozenSet(items) => items.iter().for_each(&mut count),
            Node::Call(call) => call.parts().for_each(|item| count(&item)),
        }
    }
    Grower { nodes, uses, budget }.value(root, Way::Move, 0)
}

struct Grower<'a> {
    nodes: Vec<Node>,
    /// How often each node will be asked for yet, at least.
    uses: Vec<u32>,
    budget: &'a mut Budget,
}

/// Whether a node that is mentioned once goes into the value, or stays because that is a copy itself.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Move,
    Copy,
}

impl Grower<'_> {
    fn value(&mut self, item: Item, way: Way, depth: usize) -> Result<Value> {
        self.budget.check_depth(depth)?;
        self.budget.pay(size_of::<Value>())?;
        match item {
            Item::None => Ok(Value::None),
            Item::Bool(truth) => Ok(Value::Bool(truth)),
            Item::Int(number) => Ok(Value::Int(number)),
            Item::Float(number) => Ok(Value::Float(number)),
            Item::Node(node) => self.node(node as usize, way, depth),
        }
    }

    fn node(&mut self, number: usize, way: Way, depth: usize) -> Result<Value> {
        let way = self.way_of(number, way);
        // While it is out, nobody may ask for it: it would contain itself.
        let node = std::mem::replace(&mut self.nodes[number], Node::Out);
        if way == Way::Move {
            return match node {
                Node::Leaf(value) => Ok(value),
                node => self.branch(&node, way, depth),
            };
        }
        self.budget.pay_for_copy(node_bytes(&node))?;
        let grown = match &node {
            Node::Leaf(value) => Ok(value.clone()),
            node => self.branch(node, way, depth),
        };
        self.nodes[number] = node;
        grown
    }

    /// Whether a node moves now: when nobody will ask for it any more.
    fn way_of(&mut self, number: usize, way: Way) -> Way {
        let uses = &mut self.uses[number];
        match way {
            Way::Copy => Way::Copy,
            Way::Move if *uses <= 1 => Way::Move,
            Way::Move => {
                // Beyond what can be counted there is always one more.
                *uses -= u32::from(*uses < u32::MAX);
                Way::Copy
            }
        }
    }

    fn branch(&mut self, node: &Node, way: Way, depth: usize) -> Result<Value> {
        match node {
            Node::Leaf(_) | Node::Out => Err(unsupported("a value contains itself")),
            Node::List(items) => self.values(items, way, depth).map(Value::List),
            Node::Tuple(items) => self.values(items, way, depth).map(Value::Tuple),
            Node::Dict(items) => self.pairs(items, way, depth).map(Value::Dict),
            Node::Set(items) => self.values(items, way, depth).map(Value::Set),
            Node::FrozenSet(items) => self.values(items, way, depth).map(Value::FrozenSet),
            Node::Call(call) => self.call(call, way, depth),
        }
    }

    fn values(&mut self, items: &[Item], way: Way, depth: usize) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(self.value(*item, way, depth + 1)?);
        }
        Ok(values)
    }

    fn pairs(&mut self, items: &[Item], way: Way, depth: usize) -> Result<Vec<(Value, Value)>> {
        let mut pairs = Vec::with_capacity(items.len() / 2);
        for [key, value] in items.as_chunks().0 {
            let key = self.value(*key, way, depth + 1)?;
            pairs.push((key, self.value(*value, way, depth + 1)?));
        }
        Ok(pairs)
    }

    fn call(&mut self, call: &Call, way: Way, depth: usize) -> Result<Value> {
        self.budget.pay(size_of::<Object>())?;
        let object = Object {
            how: call.how,
            class: self.value(call.class, way, depth + 1)?,
            args: self.value(call.args, way, depth + 1)?,
            kwargs: self.value(call.kwargs, way, depth + 1)?,
            items: self.values(&call.items, way, depth)?,
            pairs: self.pairs(&call.pairs, way, depth)?,
            state: call.state.map(|state| self.value(state, way, depth + 1)).transpose()?,
        };
        Ok(known::make(object))
    }
}

impl Call {
    fn parts(&self) -> impl Iterator<Item = Item> {
        let parts = [self.class, self.args, self.kwargs];
        parts.into_iter().chain(self.state).chain(self.items.iter().chain(&self.pairs).copied())
    }
}

/// What a leaf has in memory besides itself.
fn leaf_bytes(leaf: &Value) -> usize {
    match leaf {
        Value::Str(text) => text.len(),
        Value::Surrogates(bytes) | Value::Bytes(bytes) | Value::ByteArray(bytes) => bytes.len(),
        Value::BigInt(number) => number.as_le_bytes().len(),
        Value::Global(global) => size_of_val(&**global) + global.module.len() + global.name.len(),
        _ => 0,
    }
}

/// What a node has in memory, without what its parts have.
fn node_bytes(node: &Node) -> usize {
    let count = match node {
        Node::Leaf(value) => return size_of::<Value>() + leaf_bytes(value),
        Node::Out => 0,
        Node::List(items)
        | Node::Tuple(items)
        | Node::Dict(items)
        | Node::Set(items)
        | Node::FrozenSet(items) => items.len(),
        Node::Call(call) => 8 + call.items.len() + call.pairs.len(),
    };
    (count + 1).saturating_mul(size_of::<Value>())
}
