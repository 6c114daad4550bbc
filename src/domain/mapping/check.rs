//! Checks of an expression when it is set, for faults that jmespath 0.5 finds only during a search
//! or never.
//!
//! Unknown functions, wrong numbers of arguments, a missing `&`, and slices that can yield nothing
//! are refused. The cost of an expression is checked by [`super::estimate`] and [`super::fuel`].

use jmespath::ast::Ast;

/// The largest step of a slice; no list is that long.
const STEP: i32 = 1_000_000;

/// A function of JMESPath.
struct Function {
    name: &'static str,
    /// The number of arguments that it needs.
    arguments: usize,
    /// Whether it accepts more.
    variadic: bool,
    /// Which argument must be an expression (`&name`).
    expression: Option<usize>,
}

const fn function(name: &'static str, arguments: usize) -> Function {
    Function { name, arguments, variadic: false, expression: None }
}

const fn by(name: &'static str, expression: usize) -> Function {
    Function { name, arguments: 2, variadic: false, expression: Some(expression) }
}

const fn variadic(name: &'static str) -> Function {
    Function { name, arguments: 1, variadic: true, expression: None }
}

/// All functions of jmespath's own runtime (the specification's list; a test compares).
const FUNCTIONS: [Function; 26] = [
    function("abs", 1),
    function("avg", 1),
    function("ceil", 1),
    function("contains", 2),
    function("ends_with", 2),
    function("floor", 1),
    function("join", 2),
    function("keys", 1),
    function("length", 1),
    by("map", 0),
    function("max", 1),
    by("max_by", 1),
    variadic("merge"),
    function("min", 1),
    by("min_by", 1),
    variadic("not_null"),
    function("reverse", 1),
    function("sort", 1),
    by("sort_by", 1),
    function("starts_with", 2),
    function("sum", 1),
    function("to_array", 1),
    function("to_number", 1),
    function("to_string", 1),
    function("type", 1),
    function("values", 1),
];

/// The problem, and its byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) position: usize,
}

/// Checks a parsed expression. [`super::depth`] has bounded the depth of the tree.
pub(super) fn check(source: &str, ast: &Ast) -> Result<(), Fault> {
    Check { source }.node(ast)
}

struct Check<'a> {
    source: &'a str,
}

impl Check<'_> {
    fn node(&self, ast: &Ast) -> Result<(), Fault> {
        match ast {
            Ast::Field { .. } | Ast::Identity { .. } | Ast::Index { .. } | Ast::Literal { .. } => {
                Ok(())
            }
            Ast::Slice { step, offset, .. } => {
                if *step == 0 || step.unsigned_abs() > STEP.unsigned_abs() {
                    let message = format!("a slice's step is between 1 and {STEP}, up or down");
                    return Err(Fault { message, position: *offset });
                }
                Ok(())
            }
            Ast::Subexpr { lhs, rhs, .. }
            | Ast::Projection { lhs, rhs, .. }
            | Ast::Condition { predicate: lhs, then: rhs, .. }
            | Ast::Or { lhs, rhs, .. }
            | Ast::And { lhs, rhs, .. }
            | Ast::Comparison { lhs, rhs, .. } => {
                self.node(lhs)?;
                self.node(rhs)
            }
            Ast::Not { node, .. }
            | Ast::Expref { ast: node, .. }
            | Ast::Flatten { node, .. }
            | Ast::ObjectValues { node, .. } => self.node(node),
            Ast::MultiList { elements, .. } => {
                elements.iter().try_for_each(|element| self.node(element))
            }
            Ast::MultiHash { elements, .. } => {
                elements.iter().try_for_each(|element| self.node(&element.value))
            }
            Ast::Function { name, args, offset } => {
                self.call(name, args, *offset)?;
                args.iter().try_for_each(|arg| self.node(arg))
            }
        }
    }

    fn call(&self, name: &str, args: &[Ast], offset: usize) -> Result<(), Fault> {
        let fault = |message| Err(Fault { message, position: self.name_at(name, offset) });
        let Some(function) = FUNCTIONS.iter().find(|function| function.name == name) else {
            return fault(format!("there is no function {name}"));
        };
        let (needed, given) = (function.arguments, args.len());
        if given < needed || given > needed && !function.variadic {
            let least = if function.variadic { "at least " } else { "" };
            return fault(format!("{name} takes {least}{needed} argument(s), not {given}"));
        }
        if let Some(index) = function.expression
            && !matches!(args[index], Ast::Expref { .. })
        {
            let nth = if index == 0 { "first" } else { "second" };
            return fault(format!("the {nth} argument of {name} is an expression such as &name"));
        }
        Ok(())
    }

    /// The beginning of a function's name; jmespath gives the place of its parenthesis.
    fn name_at(&self, name: &str, parenthesis: usize) -> usize {
        let before = self.source.get(..parenthesis).unwrap_or_default().trim_end();
        if before.ends_with(name) { before.len() - name.len() } else { parenthesis }
    }
}

/// The place of a node in the source, as precisely as jmespath gives it.
pub(super) fn offset(ast: &Ast) -> usize {
    match ast {
        Ast::Comparison { offset, .. }
        | Ast::Condition { offset, .. }
        | Ast::Identity { offset }
        | Ast::Expref { offset, .. }
        | Ast::Flatten { offset, .. }
        | Ast::Function { offset, .. }
        | Ast::Field { offset, .. }
        | Ast::Index { offset, .. }
        | Ast::Literal { offset, .. }
        | Ast::MultiList { offset, .. }
        | Ast::MultiHash { offset, .. }
        | Ast::Not { offset, .. }
        | Ast::Projection { offset, .. }
        | Ast::ObjectValues { offset, .. }
        | Ast::And { offset, .. }
        | Ast::Or { offset, .. }
        | Ast::Slice { offset, .. }
        | Ast::Subexpr { offset, .. } => *offset,
    }
}

#[cfg(test)]
mod tests {
    use jmespath::{Context, DEFAULT_RUNTIME, ErrorReason, Rcvar, RuntimeError, Variable};

    use super::*;

    fn fault(source: &str) -> Fault {
        check(source, &jmespath::parse(source).unwrap()).unwrap_err()
    }

    fn is_good(source: &str) -> bool {
        check(source, &jmespath::parse(source).unwrap()).is_ok()
    }

    #[test]
    fn the_table_is_what_jmespath_knows() {
        for Function { name, arguments, variadic, .. } in FUNCTIONS {
            let function = DEFAULT_RUNTIME.get_function(name).unwrap();
            let arity_is_wrong = |count: usize| {
                let args = vec![Rcvar::new(Variable::Null); count];
                let mut context = Context::new("", &DEFAULT_RUNTIME);
                let reason = function.evaluate(&args, &mut context).err().map(|e| e.reason);
                matches!(
                    reason,
                    Some(ErrorReason::Runtime(
                        RuntimeError::NotEnoughArguments { .. }
                            | RuntimeError::TooManyArguments { .. }
                    ))
                )
            };
            assert!(arity_is_wrong(arguments - 1), "{name}");
            assert!(!arity_is_wrong(arguments), "{name}");
            assert_eq!(arity_is_wrong(arguments + 1), !variadic, "{name}");
        }
    }

    #[test]
    fn unknown_functions_and_their_place() {
        assert_eq!(fault("a || lower (b)").position, 5);
        assert!(fault("lower(a)").message.contains("lower"));
        assert_eq!(fault("list[?contains(a, nope(b))]").position, 18);
        assert_eq!(fault("sort_by(a, &nope(b))").position, 12);
        assert_eq!(fault("{a: [nope(b)]}").position, 5);
        assert_eq!(
            fault("é_is_quoted || nope(b)".replace("é_is_quoted", "\"é\"").as_str()).position,
            8
        );
    }

    #[test]
    fn wrong_arity_and_missing_references() {
        assert_eq!(fault("a.length(b, c)").position, 2);
        assert_eq!(fault("not_null()").message, "not_null takes at least 1 argument(s), not 0");
        assert!(is_good("not_null(a, b, c)"));
        assert!(fault("sort_by(a, b)").message.contains("second"));
        assert!(fault("map(a, b)").message.contains("first"));
        assert!(is_good("map(&a, b)"));
    }

    #[test]
    fn slices_that_break_arithmetic() {
        assert!(!is_good("a[::0]"));
        assert!(!is_good("a[1::2147483647]"));
        assert!(!is_good("a[::-2147483647]"));
        assert!(is_good("a[::-1]"));
    }
}
