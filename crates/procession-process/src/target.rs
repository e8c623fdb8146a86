//! What can run in another process.

/// A function that runs in another process: any `fn` item, or any closure that captures nothing, of up to eight
/// arguments.
///
/// `Args` is the tuple of its arguments. The function itself is not sent, and could not be: what is sent says which one
/// it is, and the child, which runs the same program, makes the value out of nothing. So it must be of size zero, which is
/// checked when the call is compiled; and a closure must not capture a value of size zero either, which nobody can
/// check: a token that stands for something in this process (a licence, a lock held) would stand for nothing there.
///
/// A closure's argument types are written out (`|path: PathBuf, n: usize| ..`): the compiler does not infer them through
/// this trait.
///
/// Implemented here for all such functions; there is nothing to implement elsewhere.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run in another process with the arguments `{Args}`",
    label = "not a function of these arguments that captures nothing",
    note = "it must be a `fn` item or a closure without captures, its arguments given as a tuple: `(a, b)`, `(a,)`, `()`",
    note = "what a closure captures is passed as an argument instead"
)]
pub trait Target<Args>: Copy + Send + 'static {
    /// What the function returns.
    type Output;

    /// Calls the function.
    fn call(self, args: Args) -> Self::Output;
}

macro_rules! target {
    ($($arg:ident $Arg:ident),*) => {
        impl<Function, Output, $($Arg),*> Target<($($Arg,)*)> for Function
        where
            Function: Fn($($Arg),*) -> Output + Copy + Send + 'static,
        {
            type Output = Output;

            fn call(self, ($($arg,)*): ($($Arg,)*)) -> Output {
                self($($arg),*)
            }
        }
    };
}

target!();
target!(a A);
target!(a A, b B);
target!(a A, b B, c C);
target!(a A, b B, c C, d D);
target!(a A, b B, c C, d D, e E);
target!(a A, b B, c C, d D, e E, f F);
target!(a A, b B, c C, d D, e E, f F, g G);
target!(a A, b B, c C, d D, e E, f F, g G, h H);
