//! Values of JMESPath, made and compared with fuel.

use jmespath::ast::Ast;
use jmespath::{Rcvar, Variable};

use super::EvaluationError;
use super::fuel::Fuel;

/// Bytes of a new value, without its contents.
pub(super) const VALUE: usize = 96;
/// Bytes of an element in a list, including the spare capacity of a growing list.
pub(super) const ELEMENT: usize = 16;
/// Bytes of an entry in an object, without its key's text.
pub(super) const ENTRY: usize = 48;

/// The result of evaluating a node.
pub(super) type Result<T> = std::result::Result<T, EvaluationError>;

/// A new value.
pub(super) fn made(variable: Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    fuel.produce(VALUE)?;
    Ok(Rcvar::new(variable))
}

/// A new list of existing values.
pub(super) fn list<'a>(
    values: impl Iterator<Item = &'a Rcvar>,
    count: usize,
    fuel: &mut Fuel,
) -> Result<Rcvar> {
    fuel.elements(count)?;
    fuel.produce(count * ELEMENT)?;
    made(Variable::Array(values.cloned().collect()), fuel)
}

/// Whether two values are equal. For nested values this compares every part, and a part that occurs
/// several times is compared each time.
pub(super) fn equal(left: &Variable, right: &Variable, fuel: &mut Fuel) -> Result<bool> {
    fuel.steps(1)?;
    match (left, right) {
        (Variable::String(left), Variable::String(right)) => {
            fuel.read(left.len().min(right.len()))?;
            Ok(left == right)
        }
        (Variable::Array(left), Variable::Array(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !equal(left, right, fuel)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Variable::Object(left), Variable::Object(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for ((left_key, left), (right_key, right)) in left.iter().zip(right) {
                fuel.read(left_key.len().min(right_key.len()))?;
                if left_key != right_key || !equal(left, right, fuel)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Variable::Expref(left), Variable::Expref(right)) => {
            fuel.elements(nodes(left))?;
            Ok(left == right)
        }
        // Of different types, or small.
        (left, right) => Ok(left == right),
    }
}

/// Nodes of a tree, and the elements of its literals.
pub(super) fn nodes(ast: &Ast) -> usize {
    1 + match ast {
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => nodes(lhs) + nodes(rhs),
        Ast::Condition { predicate, then, .. } => nodes(predicate) + nodes(then),
        Ast::Expref { ast: node, .. }
        | Ast::Not { node, .. }
        | Ast::Flatten { node, .. }
        | Ast::ObjectValues { node, .. } => nodes(node),
        Ast::Function { args: all, .. } | Ast::MultiList { elements: all, .. } => {
            all.iter().map(nodes).sum()
        }
        Ast::MultiHash { elements, .. } => {
            elements.iter().map(|element| nodes(&element.value)).sum()
        }
        Ast::Literal { value, .. } => mass(value),
        Ast::Identity { .. } | Ast::Field { .. } | Ast::Index { .. } | Ast::Slice { .. } => 0,
    }
}

/// Elements of a value; sixteen bytes of text count as one. It walks the whole value, so it is only
/// for literals in an expression.
pub(super) fn mass(value: &Variable) -> usize {
    1 + match value {
        Variable::String(text) => text.len() / 16,
        Variable::Array(elements) => elements.iter().map(|element| mass(element)).sum(),
        Variable::Object(keys) => {
            keys.iter().map(|(key, value)| key.len() / 16 + mass(value)).sum()
        }
        Variable::Expref(ast) => nodes(ast),
        Variable::Null | Variable::Bool(_) | Variable::Number(_) => 0,
    }
}
