//! An iterator over items that were there when it was made.

use std::vec::IntoIter;

use procession_sys::prim::Mutex;

use super::super::arguments::Arguments;
use super::super::managed::{Answer, Caller, Managed, no_method, owned, raise};
use super::locked;
use crate::value::{Exception, Value};

#[derive(Debug)]
pub(super) struct Items(Mutex<IntoIter<Value>>);

impl Items {
    pub(super) fn new(items: Vec<Value>) -> Self {
        Self(Mutex::new(items.into_iter()))
    }
}

impl Managed for Items {
    fn methods(&self) -> Vec<String> {
        owned(&["__next__", "send", "throw", "close"])
    }

    fn call(
        &self,
        method: &str,
        arguments: Arguments,
        _caller: &Caller<'_>,
    ) -> Result<Answer, Exception> {
        match method {
            "__next__" => {
                arguments.none()?;
                let end = || Exception::builtin("StopIteration", Vec::new());
                locked(&self.0).next().ok_or_else(end).map(Answer::Value)
            }
            "send" | "throw" | "close" => {
                let text = format!("the iterator is no generator: it has no '{method}'");
                Err(raise("AttributeError", text))
            }
            other => Err(no_method(other)),
        }
    }
}
