//! The evaluator of JMESPath's syntax tree: jmespath's own interpreter, with fuel.
//!
//! The crate's interpreter takes as many steps and as much memory as an expression requires, and
//! forty nested filters require 2^40. The tree, the parser and the values are the crate's. The
//! official compliance cases and a property test that compares with the crate prove that the
//! results are the same (`compliance`). One difference is intended: `avg` of an empty list is null,
//! as the specification says.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jmespath::ast::{Ast, Comparator, KeyValuePair};
use jmespath::{Rcvar, Variable};

use super::EvaluationError;
use super::fuel::Fuel;
use super::functions::{self, array, comparable, comparisons, sorting};
use super::values::{ELEMENT, ENTRY, Result, VALUE, equal, list, made, nodes};

/// Evaluates a tree on a value. [`super::depth`] has bounded the depth of the tree.
pub(super) fn search(value: &Rcvar, ast: &Ast, fuel: &mut Fuel) -> Result<Rcvar> {
    fuel.steps(1)?;
    match ast {
        Ast::Identity { .. } => Ok(value.clone()),
        Ast::Field { name, .. } => Ok(value.get_field(name)),
        Ast::Literal { value, .. } => Ok(value.clone()),
        Ast::Index { idx, .. } => Ok(if *idx >= 0 {
            value.get_index(idx.unsigned_abs() as usize)
        } else {
            value.get_negative_index(idx.unsigned_abs() as usize)
        }),
        Ast::Subexpr { lhs, rhs, .. } => {
            let left = search(value, lhs, fuel)?;
            search(&left, rhs, fuel)
        }
        Ast::Or { lhs, rhs, .. } => {
            let left = search(value, lhs, fuel)?;
            if left.is_truthy() { Ok(left) } else { search(value, rhs, fuel) }
        }
        Ast::And { lhs, rhs, .. } => {
            let left = search(value, lhs, fuel)?;
            if left.is_truthy() { search(value, rhs, fuel) } else { Ok(left) }
        }
        Ast::Not { node, .. } => {
            let truthy = search(value, node, fuel)?.is_truthy();
            made(Variable::Bool(!truthy), fuel)
        }
        Ast::Condition { predicate, then, .. } => {
            if search(value, predicate, fuel)?.is_truthy() {
                search(value, then, fuel)
            } else {
                made(Variable::Null, fuel)
            }
        }
        Ast::Comparison { comparator, lhs, rhs, .. } => {
            let left = search(value, lhs, fuel)?;
            let right = search(value, rhs, fuel)?;
            let found = compare(comparator, &left, &right, fuel)?;
            made(found.map_or(Variable::Null, Variable::Bool), fuel)
        }
        Ast::Projection { lhs, rhs, .. } => project(value, lhs, rhs, fuel),
        Ast::Flatten { node, .. } => flatten(&*search(value, node, fuel)?, fuel),
        Ast::ObjectValues { node, .. } => match &*search(value, node, fuel)? {
            Variable::Object(keys) => list(keys.values(), keys.len(), fuel),
            _ => made(Variable::Null, fuel),
        },
        Ast::Slice { start, stop, step, .. } => slice(value, *start, *stop, *step, fuel),
        Ast::MultiList { .. } | Ast::MultiHash { .. } if value.is_null() => {
            made(Variable::Null, fuel)
        }
        Ast::MultiList { elements, .. } => multi_list(value, elements, fuel),
        Ast::MultiHash { elements, .. } => multi_hash(value, elements, fuel),
        Ast::Function { name, args, .. } => call(name, args, value, fuel),
        Ast::Expref { ast, .. } => reference(ast, fuel),
    }
}

fn multi_list(value: &Rcvar, elements: &[Ast], fuel: &mut Fuel) -> Result<Rcvar> {
    let mut collected = Vec::with_capacity(elements.len());
    for element in elements {
        fuel.produce(ELEMENT)?;
        collected.push(search(value, element, fuel)?);
    }
    made(Variable::Array(collected), fuel)
}

fn multi_hash(value: &Rcvar, elements: &[KeyValuePair], fuel: &mut Fuel) -> Result<Rcvar> {
    let mut collected = BTreeMap::new();
    for element in elements {
        fuel.copy(ENTRY + element.key.len())?;
        collected.insert(element.key.clone(), search(value, &element.value, fuel)?);
    }
    made(Variable::Object(collected), fuel)
}

/// `&expression`: the expression itself, as a value.
fn reference(expression: &Ast, fuel: &mut Fuel) -> Result<Rcvar> {
    let nodes = nodes(expression);
    fuel.elements(nodes)?;
    fuel.produce(nodes * 2 * VALUE)?;
    made(Variable::Expref(expression.clone()), fuel)
}

fn project(value: &Rcvar, lhs: &Ast, rhs: &Ast, fuel: &mut Fuel) -> Result<Rcvar> {
    let left = search(value, lhs, fuel)?;
    let Variable::Array(elements) = &*left else { return made(Variable::Null, fuel) };
    let mut collected = Vec::new();
    for element in elements {
        let current = search(element, rhs, fuel)?;
        if !current.is_null() {
            fuel.produce(ELEMENT)?;
            collected.push(current);
        }
    }
    made(Variable::Array(collected), fuel)
}

fn flatten(value: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let Variable::Array(elements) = value else { return made(Variable::Null, fuel) };
    let mut collected = Vec::new();
    for element in elements {
        let inner = match &**element {
            Variable::Array(inner) => inner.as_slice(),
            _ => std::slice::from_ref(element),
        };
        fuel.elements(1 + inner.len())?;
        fuel.produce(inner.len() * ELEMENT)?;
        collected.extend(inner.iter().cloned());
    }
    made(Variable::Array(collected), fuel)
}

fn slice(
    value: &Variable,
    start: Option<i32>,
    stop: Option<i32>,
    step: i32,
    fuel: &mut Fuel,
) -> Result<Rcvar> {
    if step == 0 {
        return Err(EvaluationError::Failed);
    }
    let Variable::Array(elements) = value else { return made(Variable::Null, fuel) };
    let count = i64::try_from(elements.len()).map_err(|_| EvaluationError::TooCostly)?;
    let forward = step > 0;
    let (lowest, highest) = if forward { (0, count) } else { (-1, count - 1) };
    let end = |end: i32| {
        let end = i64::from(end);
        if end < 0 { end + count } else { end }.clamp(lowest, highest)
    };
    let first = start.map_or(if forward { lowest } else { highest }, end);
    let last = stop.map_or(if forward { highest } else { lowest }, end);
    let mut collected = Vec::new();
    let mut at = first;
    while if forward { at < last } else { at > last } {
        fuel.elements(1)?;
        fuel.produce(ELEMENT)?;
        collected.extend(usize::try_from(at).ok().and_then(|at| elements.get(at)).cloned());
        at += i64::from(step);
    }
    made(Variable::Array(collected), fuel)
}

/// `None`: the values cannot be compared in this way.
fn compare(
    comparator: &Comparator,
    left: &Variable,
    right: &Variable,
    fuel: &mut Fuel,
) -> Result<Option<bool>> {
    Ok(match comparator {
        Comparator::Equal => Some(equal(left, right, fuel)?),
        Comparator::NotEqual => Some(!equal(left, right, fuel)?),
        // Only numbers have an order: cheap.
        _ => left.compare(comparator, right),
    })
}

/// Calls a function that passed [`super::check`].
fn call(name: &str, args: &[Ast], value: &Rcvar, fuel: &mut Fuel) -> Result<Rcvar> {
    match (name, args) {
        ("map", [by, of]) => return map(of, by, value, fuel),
        ("sort_by", [of, by]) => return sort_by(of, by, value, fuel),
        ("max_by", [of, by]) => return extreme_by(Ordering::Greater, of, by, value, fuel),
        ("min_by", [of, by]) => return extreme_by(Ordering::Less, of, by, value, fuel),
        _ => {}
    }
    let mut given = Vec::with_capacity(args.len());
    for arg in args {
        fuel.produce(ELEMENT)?;
        given.push(search(value, arg, fuel)?);
    }
    functions::call(name, &given, fuel)
}

fn map(of: &Ast, by: &Ast, value: &Rcvar, fuel: &mut Fuel) -> Result<Rcvar> {
    let Ast::Expref { ast: by, .. } = by else { return Err(EvaluationError::Failed) };
    let of = search(value, of, fuel)?;
    let mut results = Vec::new();
    for element in array(&of)? {
        fuel.produce(ELEMENT)?;
        results.push(search(element, by, fuel)?);
    }
    made(Variable::Array(results), fuel)
}

/// Each element of a list with the value that it is compared by.
fn mapped(of: &Ast, by: &Ast, value: &Rcvar, fuel: &mut Fuel) -> Result<Vec<(Rcvar, Rcvar)>> {
    let Ast::Expref { ast: by, .. } = by else { return Err(EvaluationError::Failed) };
    let of = search(value, of, fuel)?;
    let mut mapped: Vec<(Rcvar, Rcvar)> = Vec::new();
    for element in array(&of)? {
        fuel.produce(2 * ELEMENT)?;
        mapped.push((element.clone(), search(element, by, fuel)?));
    }
    comparable(mapped.iter().map(|(_, by)| by))?;
    Ok(mapped)
}

fn extreme_by(
    wanted: Ordering,
    of: &Ast,
    by: &Ast,
    value: &Rcvar,
    fuel: &mut Fuel,
) -> Result<Rcvar> {
    let mapped = mapped(of, by, value, fuel)?;
    comparisons(mapped.iter().map(|(_, by)| by), 1, fuel)?;
    let better = |best: (Rcvar, Rcvar), next: (Rcvar, Rcvar)| {
        if next.1.cmp(&best.1) == wanted { next } else { best }
    };
    let best = mapped.into_iter().reduce(better);
    best.map_or_else(|| made(Variable::Null, fuel), |(best, _)| Ok(best))
}

fn sort_by(of: &Ast, by: &Ast, value: &Rcvar, fuel: &mut Fuel) -> Result<Rcvar> {
    let mut mapped = mapped(of, by, value, fuel)?;
    comparisons(mapped.iter().map(|(_, by)| by), sorting(mapped.len()), fuel)?;
    mapped.sort_by(|(_, left), (_, right)| left.cmp(right));
    list(mapped.iter().map(|(element, _)| element), mapped.len(), fuel)
}
