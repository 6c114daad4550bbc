//! What jmespath 0.5 finds only when it searches, or never: found when the expression is set.
//!
//! Unknown functions, wrong numbers of arguments, a missing `&`, and slices that can yield nothing
//! are refused, and so are expressions that build results much larger than what they read:
//! `[@,@]|[@,@]|...` doubles with every step, and one tenant's expression must not take the
//! memory of all.

use jmespath::ast::Ast;

/// How many times the size of what it reads may an expression's intermediate results have.
/// Ten doublings: whatever maps people to members needs none or one.
const GROWTH: u64 = 1024;
/// Slice steps beyond this overflow in jmespath's arithmetic; no list is as long.
const STEP: i32 = 1_000_000;

/// A function of JMESPath.
struct Function {
    name: &'static str,
    /// Arguments it needs.
    arguments: usize,
    /// Whether it takes more.
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

/// All that jmespath's own runtime knows (the specification's list; a test compares).
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

/// What is wrong and the byte where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) position: usize,
}

/// Checks a parsed expression. The tree is as shallow as [`super::depth`] made sure.
pub(super) fn check(source: &str, ast: &Ast) -> Result<(), Fault> {
    Check { source }.grow(ast, 1).map(drop)
}

struct Check<'a> {
    source: &'a str,
}

impl Check<'_> {
    /// Checks `ast` and returns how large its result can be where what it is evaluated on is `at`
    /// times as large as the record.
    fn grow(&self, ast: &Ast, at: u64) -> Result<u64, Fault> {
        let grown = match ast {
            Ast::Field { .. } | Ast::Identity { .. } | Ast::Index { .. } | Ast::Literal { .. } => {
                at
            }
            Ast::Slice { step, offset, .. } => {
                if *step == 0 || step.unsigned_abs() > STEP.unsigned_abs() {
                    let message = format!("a slice's step is between 1 and {STEP}, up or down");
                    return Err(Fault { message, position: *offset });
                }
                at
            }
            Ast::Subexpr { lhs, rhs, .. } | Ast::Projection { lhs, rhs, .. } => {
                let left = self.grow(lhs, at)?;
                self.grow(rhs, left)?
            }
            Ast::Condition { predicate, then, .. } => {
                self.grow(predicate, at)?;
                self.grow(then, at)?
            }
            Ast::Or { lhs, rhs, .. } | Ast::And { lhs, rhs, .. } => {
                self.grow(lhs, at)?.max(self.grow(rhs, at)?)
            }
            Ast::Comparison { lhs, rhs, .. } => {
                self.grow(lhs, at)?;
                self.grow(rhs, at)?;
                at
            }
            Ast::Not { node, .. } | Ast::Expref { ast: node, .. } => {
                self.grow(node, at)?;
                at
            }
            Ast::Flatten { node, .. } | Ast::ObjectValues { node, .. } => self.grow(node, at)?,
            Ast::MultiList { elements, .. } => self.sum(elements, at)?,
            Ast::MultiHash { elements, .. } => {
                let mut sum = 0_u64;
                for element in elements {
                    sum = sum.saturating_add(self.grow(&element.value, at)?);
                }
                sum
            }
            Ast::Function { name, args, offset } => self.call(name, args, *offset, at)?,
        };
        if grown > GROWTH {
            let message = "the expression multiplies what it reads too many times".to_owned();
            return Err(Fault { message, position: offset(ast) });
        }
        Ok(grown)
    }

    fn sum(&self, nodes: &[Ast], at: u64) -> Result<u64, Fault> {
        let mut sum = 0_u64;
        for node in nodes {
            sum = sum.saturating_add(self.grow(node, at)?);
        }
        Ok(sum.max(1))
    }

    fn call(&self, name: &str, args: &[Ast], offset: usize, at: u64) -> Result<u64, Fault> {
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
        match (name, args) {
            ("map", [Ast::Expref { ast, .. }, list]) => {
                let list = self.grow(list, at)?;
                self.grow(ast, list)
            }
            ("sort_by" | "max_by" | "min_by", [list, Ast::Expref { ast, .. }]) => {
                let list = self.grow(list, at)?;
                self.grow(ast, list)?;
                Ok(list)
            }
            ("join", [Ast::Literal { .. }, list]) => self.grow(list, at),
            // Glue that is read from the record is repeated as often as the list is long.
            ("join", _) => Ok(self.sum(args, at)?.saturating_mul(32)),
            // Quotes and backslashes double.
            ("to_string", _) => Ok(self.sum(args, at)?.saturating_mul(2)),
            _ => self.sum(args, at),
        }
    }

    /// Where a function's name begins; jmespath knows where its parenthesis is.
    fn name_at(&self, name: &str, parenthesis: usize) -> usize {
        let before = self.source.get(..parenthesis).unwrap_or_default().trim_end();
        if before.ends_with(name) { before.len() - name.len() } else { parenthesis }
    }
}

fn offset(ast: &Ast) -> usize {
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

    #[test]
    fn what_multiplies_is_refused() {
        assert!(is_good("[profile.email, profile.phone, name][?@ != ''] | [0]"));
        assert!(is_good("join('-', [profile.first_name, profile.last_name])"));
        assert!(is_good("join(profile.title, [profile.first_name, profile.last_name])"));
        assert!(!is_good(&["[@,@]"; 12].join("|")));
        assert!(!is_good(&["{a:@,b:@}"; 12].join("|")));
        assert!(!is_good(&["[@,@][]"; 12].join("|")));
        assert!(!is_good(&format!("a{}", ".[@,@]".repeat(12))));
        assert!(!is_good(&["join(@, [@, @])"; 4].join("|")));
        assert!(!is_good(&["to_string([@])"; 12].join("|")));
        assert!(!is_good(
            "map(&[@,@,@,@,@,@,@,@], map(&[@,@,@,@,@,@,@,@], map(&[@,@,@,@,@,@,@,@], map(&[@,@,@,@,@,@,@,@], a))))"
        ));
    }
}
