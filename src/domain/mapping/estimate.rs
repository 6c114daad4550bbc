//! The cost of an expression on a record of ordinary size, estimated from its text only. This is
//! enough to refuse an expression that can never work when it is set, with the place. An expression
//! that passes is still evaluated with [`super::fuel`].
//!
//! Each node is followed with two numbers: how often it is evaluated, and the total size of the
//! values that it is evaluated on ([`mass`]). An element that is visited counts in only one of the
//! values that a projection makes, so nested projections over a record add up to no more than its
//! size. The factors come from the expression itself: literals, and lists that repeat their parts.
//! If a node may yield one of several values, the largest counts. If the result depends on the
//! record, the estimate is low rather than high: fuel bounds the rest.

use jmespath::ast::Ast;

use super::check::{Fault, offset};
use super::values::mass;
use crate::domain::limits;

/// The mass of an ordinary record or member: some four kilobytes.
const RECORD: f64 = 256.0;
/// How often a separator that is read from the record is assumed to be repeated.
const REPEATS: f64 = 32.0;

/// Refuses an expression that would cost more than [`limits::EVALUATION_STEPS`].
pub(super) fn check(ast: &Ast) -> Result<(), Fault> {
    Estimate { steps: 0.0 }.node(ast, 1.0, RECORD).map(drop)
}

struct Estimate {
    /// Spent so far.
    steps: f64,
}

impl Estimate {
    fn spend(&mut self, steps: f64, ast: &Ast) -> Result<(), Fault> {
        self.steps += steps;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let most = limits::EVALUATION_STEPS as f64;
        // Infinite if the cost exceeds all bounds.
        if self.steps <= most {
            return Ok(());
        }
        let message = format!(
            "the expression costs too much: up to here it takes more than the {} steps allowed for \
             one person or member, even on a record of ordinary size",
            limits::EVALUATION_STEPS
        );
        Err(Fault { message, position: offset(ast) })
    }

    /// The mass of the results of `ast`, over `times` evaluations on values of total mass `on`.
    fn node(&mut self, ast: &Ast, times: f64, on: f64) -> Result<f64, Fault> {
        self.spend(times, ast)?;
        Ok(match ast {
            Ast::Field { .. } | Ast::Identity { .. } | Ast::Index { .. } => on,
            Ast::Literal { value, .. } => times * float(mass(value)),
            Ast::Slice { .. } => {
                self.spend(on, ast)?;
                on
            }
            Ast::Subexpr { lhs, rhs, .. } => {
                let left = self.node(lhs, times, on)?;
                self.node(rhs, times, left)?
            }
            Ast::Projection { lhs, rhs, .. } => {
                let left = self.node(lhs, times, on)?;
                self.node(rhs, left, left)?
            }
            Ast::Condition { predicate, then, .. } => {
                self.node(predicate, times, on)?;
                self.node(then, times, on)?
            }
            Ast::Or { lhs, rhs, .. } | Ast::And { lhs, rhs, .. } => {
                self.node(lhs, times, on)?.max(self.node(rhs, times, on)?)
            }
            Ast::Comparison { lhs, rhs, .. } => {
                let (left, right) = (self.node(lhs, times, on)?, self.node(rhs, times, on)?);
                self.spend(left.min(right), ast)?;
                times
            }
            Ast::Not { node, .. } => {
                self.node(node, times, on)?;
                times
            }
            // If a function evaluates it, `call` counts that.
            Ast::Expref { .. } => times,
            Ast::Flatten { node, .. } | Ast::ObjectValues { node, .. } => {
                let all = self.node(node, times, on)?;
                self.spend(all, ast)?;
                all
            }
            Ast::MultiList { elements, .. } => times + self.sum(elements.iter(), times, on)?,
            Ast::MultiHash { elements, .. } => {
                times + self.sum(elements.iter().map(|element| &element.value), times, on)?
            }
            Ast::Function { name, args, .. } => self.call(name, args, ast, times, on)?,
        })
    }

    fn sum<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a Ast>,
        times: f64,
        on: f64,
    ) -> Result<f64, Fault> {
        let mut sum = 0.0;
        for node in nodes {
            sum += self.node(node, times, on)?;
        }
        Ok(sum)
    }

    fn call(
        &mut self,
        name: &str,
        args: &[Ast],
        ast: &Ast,
        times: f64,
        on: f64,
    ) -> Result<f64, Fault> {
        match (name, args) {
            ("map", [Ast::Expref { ast: by, .. }, of]) => {
                let of = self.node(of, times, on)?;
                return Ok(times + self.node(by, of, of)?);
            }
            ("sort_by" | "max_by" | "min_by", [of, Ast::Expref { ast: by, .. }]) => {
                let of = self.node(of, times, on)?;
                self.node(by, of, of)?;
                return Ok(of);
            }
            _ => {}
        }
        let given = self.sum(args.iter(), times, on)?;
        let yielded = match name {
            "join" if matches!(args, [Ast::Literal { .. }, _]) => given,
            "join" => given * REPEATS,
            // Escaping doubles quotes and backslashes.
            "to_string" => given * 2.0,
            "keys" | "values" | "merge" | "not_null" | "reverse" | "sort" | "to_array"
            | "to_number" | "max" | "min" => given,
            _ => times,
        };
        self.spend(given.max(yielded), ast)?;
        Ok(yielded)
    }
}

#[expect(clippy::cast_precision_loss, reason = "literals are shorter than an expression")]
fn float(mass: usize) -> f64 {
    mass as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_good(source: &str) -> bool {
        check(&jmespath::parse(source).unwrap()).is_ok()
    }

    #[test]
    fn everyday_expressions_cost_little() {
        for source in [
            "[profile.email, profile.phone, name][?@ != ''] | [0]",
            "join('-', [profile.first_name, profile.last_name])",
            "join(profile.title, [profile.first_name, profile.last_name])",
            "values(profile) | [?type(@) == 'string' && contains(@, '@')] | [0]",
            "metadata.accounts[?system == 'hr'].ids[].value | sort(@) | [-1]",
            "a[*].b[*].c[*].d[*].e[?f].g",
            "profile.fields.*.value | [?starts_with(@, 'E-')] | [0]",
            "sort_by(values(profile.fields), &value) | [*].value",
            "map(&join('', ['E-', to_string(@)]), metadata.numbers)",
        ] {
            assert!(is_good(source), "{source}");
        }
        assert!(is_good(&vec!["profile.fields.XF1.value"; 30].join(" || ")));
    }

    #[test]
    fn what_multiplies_is_refused() {
        for source in [
            ["[@,@][]"; 12].join("|"),
            format!("{}|to_string(@)", ["[@,@]"; 12].join("|")),
            format!("{}|@==@", ["{a:@,b:@}"; 12].join("|")),
            format!("a{}[]", ".[@,@]".repeat(12)),
            ["join(@, [@, @])"; 4].join("|"),
            ["to_string([@])"; 12].join("|"),
            "map(&[@,@,@,@,@,@,@,@], map(&[@,@,@,@,@,@,@,@], map(&[@,@,@,@,@,@,@,@], a)))".into(),
            format!("{}`1`{}", "`[0,0]`[?".repeat(40), "]".repeat(40)),
            format!("{}`[0,0]`{}", "map(&".repeat(20), ",`[0,0]`)".repeat(20)),
            format!("metadata.l|{}", ["[@,@][]"; 10].join("|")),
        ] {
            assert!(!is_good(&source), "{source}");
        }
    }

    #[test]
    fn the_place_where_it_is_too_much() {
        let source = format!("a || {}", ["[@,@][]"; 12].join("|"));
        let fault = check(&jmespath::parse(&source).unwrap()).unwrap_err();
        assert!((40..70).contains(&fault.position), "{fault:?}");
        assert!(fault.message.contains("100000 steps"), "{fault:?}");
    }
}
