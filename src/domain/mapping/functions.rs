//! The functions of JMESPath, with fuel. Each checks the types of its arguments as jmespath's own
//! does: an argument of another type makes the expression fail on the current value.

use std::cmp::Ordering;
use std::io;

use jmespath::{Rcvar, Variable};
use serde_json::Number;

use super::EvaluationError;
use super::fuel::Fuel;
use super::values::{ELEMENT, ENTRY, Result, VALUE, equal, list, made};

/// The most bytes that a parsed JSON text takes for each of its bytes.
const PARSED: usize = 64;

/// Calls a function that passed [`super::check`], except for functions that take an expression,
/// which are in [`super::search`].
pub(super) fn call(name: &str, given: &[Rcvar], fuel: &mut Fuel) -> Result<Rcvar> {
    match (name, given) {
        ("abs", [of]) => float(number(of)?.abs(), fuel),
        ("ceil", [of]) => float(number(of)?.ceil(), fuel),
        ("floor", [of]) => float(number(of)?.floor(), fuel),
        ("avg", [of]) => average(of, fuel),
        ("sum", [of]) => float(sum(&numbers(of, fuel)?), fuel),
        ("contains", [of, what]) => contains(of, what, fuel),
        ("starts_with" | "ends_with", [of, what]) => {
            let (of, what) = (text(of)?, text(what)?);
            fuel.read(what.len())?;
            let found = if name == "ends_with" { of.ends_with(what) } else { of.starts_with(what) };
            made(Variable::Bool(found), fuel)
        }
        ("join", [glue, of]) => join(text(glue)?, of, fuel),
        ("keys", [of]) => keys(of, fuel),
        ("values", [of]) => match &**of {
            Variable::Object(keys) => list(keys.values(), keys.len(), fuel),
            _ => Err(EvaluationError::Failed),
        },
        ("length", [of]) => length(of, fuel),
        ("max", [of]) => extreme(Ordering::Greater, of, fuel),
        ("min", [of]) => extreme(Ordering::Less, of, fuel),
        ("merge", [_, ..]) => merge(given, fuel),
        ("not_null", [_, ..]) => match given.iter().find(|value| !value.is_null()) {
            Some(value) => Ok(value.clone()),
            None => made(Variable::Null, fuel),
        },
        ("reverse", [of]) => reverse(of, fuel),
        ("sort", [of]) => sort(of, fuel),
        ("to_array", [of]) if of.is_array() => Ok(of.clone()),
        ("to_array", [of]) => list(std::iter::once(of), 1, fuel),
        ("to_number", [of]) => to_number(of, fuel),
        ("to_string", [of]) => to_string(of, fuel),
        ("type", [of]) => {
            let name = of.get_type().to_string();
            fuel.copy(name.len())?;
            made(Variable::String(name), fuel)
        }
        _ => Err(EvaluationError::Failed),
    }
}

pub(super) fn array(value: &Variable) -> Result<&[Rcvar]> {
    value.as_array().map(Vec::as_slice).ok_or(EvaluationError::Failed)
}

fn text(value: &Variable) -> Result<&str> {
    value.as_string().map(String::as_str).ok_or(EvaluationError::Failed)
}

fn number(value: &Variable) -> Result<f64> {
    value.as_number().ok_or(EvaluationError::Failed)
}

/// A list that contains only numbers.
fn numbers(value: &Variable, fuel: &mut Fuel) -> Result<Vec<f64>> {
    let elements = array(value)?;
    fuel.elements(elements.len())?;
    fuel.produce(elements.len() * ELEMENT)?;
    elements.iter().map(|element| number(element)).collect()
}

/// Starts from zero: `Iterator::sum` of no numbers would be negative zero.
fn sum(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |sum, number| sum + number)
}

/// Infinity is not valid JSON.
fn float(value: f64, fuel: &mut Fuel) -> Result<Rcvar> {
    let number = Number::from_f64(value).ok_or(EvaluationError::Failed)?;
    made(Variable::Number(number), fuel)
}

fn average(of: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let numbers = numbers(of, fuel)?;
    if numbers.is_empty() {
        return made(Variable::Null, fuel);
    }
    #[expect(clippy::cast_precision_loss, reason = "a list has fewer elements than 2^53")]
    let count = numbers.len() as f64;
    float(sum(&numbers) / count, fuel)
}

fn contains(of: &Variable, what: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let found = match (of, what) {
        (Variable::Array(elements), what) => {
            let mut found = false;
            for element in elements {
                if equal(element, what, fuel)? {
                    found = true;
                    break;
                }
            }
            found
        }
        (Variable::String(of), Variable::String(what)) => {
            fuel.read(of.len())?;
            fuel.read(what.len())?;
            of.contains(what.as_str())
        }
        (Variable::String(_), _) => false,
        _ => return Err(EvaluationError::Failed),
    };
    made(Variable::Bool(found), fuel)
}

fn join(glue: &str, of: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let mut joined = String::new();
    for (number, part) in array(of)?.iter().enumerate() {
        let glue = if number == 0 { "" } else { glue };
        let part = text(part)?;
        fuel.copy(glue.len())?;
        fuel.copy(part.len())?;
        joined.push_str(glue);
        joined.push_str(part);
    }
    made(Variable::String(joined), fuel)
}

fn keys(of: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let Variable::Object(object) = of else { return Err(EvaluationError::Failed) };
    let mut keys = Vec::with_capacity(object.len());
    for key in object.keys() {
        fuel.copy(ELEMENT + key.len())?;
        keys.push(made(Variable::String(key.clone()), fuel)?);
    }
    made(Variable::Array(keys), fuel)
}

fn length(of: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let length = match of {
        Variable::Array(elements) => elements.len(),
        Variable::Object(keys) => keys.len(),
        Variable::String(text) => {
            fuel.read(text.len())?;
            text.chars().count()
        }
        _ => return Err(EvaluationError::Failed),
    };
    made(Variable::Number(Number::from(length)), fuel)
}

/// All elements are texts, or all are numbers.
pub(super) fn comparable<'a>(elements: impl Iterator<Item = &'a Rcvar> + Clone) -> Result<()> {
    let mut others = elements.clone();
    if elements.clone().all(|element| element.is_string())
        || others.all(|element| element.is_number())
    {
        Ok(())
    } else {
        Err(EvaluationError::Failed)
    }
}

/// Takes the steps for comparing each element `times` times, as if each were the longest.
pub(super) fn comparisons<'a>(
    elements: impl ExactSizeIterator<Item = &'a Rcvar>,
    times: usize,
    fuel: &mut Fuel,
) -> Result<()> {
    let count = elements.len();
    fuel.elements(count)?;
    let longest = elements.filter_map(|element| element.as_string()).map(String::len).max();
    let each = 1 + longest.unwrap_or(0) / 16;
    fuel.elements(count.saturating_mul(times).saturating_mul(each))
}

/// Comparisons for each element when sorting.
pub(super) fn sorting(count: usize) -> usize {
    usize::try_from(count.checked_ilog2().unwrap_or(0)).unwrap_or(usize::MAX) + 1
}

/// The greatest or the least element; among equal ones the last of the greatest, the first of the
/// least.
fn extreme(wanted: Ordering, of: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let elements = array(of)?;
    comparisons(elements.iter(), 1, fuel)?;
    comparable(elements.iter())?;
    let best = elements.iter().reduce(|best, next| match next.cmp(best) {
        Ordering::Equal if wanted == Ordering::Greater => next,
        order if order == wanted => next,
        _ => best,
    });
    best.map_or_else(|| made(Variable::Null, fuel), |best| Ok(best.clone()))
}

fn sort(of: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    let elements = array(of)?;
    comparisons(elements.iter(), sorting(elements.len()), fuel)?;
    comparable(elements.iter())?;
    fuel.produce(elements.len() * ELEMENT)?;
    let mut sorted = elements.to_vec();
    sorted.sort();
    made(Variable::Array(sorted), fuel)
}

fn merge(objects: &[Rcvar], fuel: &mut Fuel) -> Result<Rcvar> {
    let mut merged = std::collections::BTreeMap::new();
    for object in objects {
        let Variable::Object(keys) = &**object else { return Err(EvaluationError::Failed) };
        for (key, value) in keys {
            fuel.copy(ENTRY + key.len())?;
            merged.insert(key.clone(), value.clone());
        }
    }
    made(Variable::Object(merged), fuel)
}

fn reverse(of: &Variable, fuel: &mut Fuel) -> Result<Rcvar> {
    match of {
        Variable::Array(elements) => list(elements.iter().rev(), elements.len(), fuel),
        Variable::String(text) => {
            fuel.copy(text.len())?;
            made(Variable::String(text.chars().rev().collect()), fuel)
        }
        _ => Err(EvaluationError::Failed),
    }
}

fn to_number(of: &Rcvar, fuel: &mut Fuel) -> Result<Rcvar> {
    match &**of {
        Variable::Number(_) => Ok(of.clone()),
        Variable::String(text) => {
            // Like jmespath's own, it accepts any JSON, which may be large.
            fuel.elements(text.len())?;
            let parsed = text.bytes().filter(|byte| b"[{,:".contains(byte)).count() + 1;
            fuel.produce(parsed * (VALUE + PARSED) + text.len())?;
            made(Variable::from_json(text).unwrap_or(Variable::Null), fuel)
        }
        _ => made(Variable::Null, fuel),
    }
}

fn to_string(of: &Rcvar, fuel: &mut Fuel) -> Result<Rcvar> {
    match &**of {
        Variable::String(_) => Ok(of.clone()),
        Variable::Expref(_) => Err(EvaluationError::Failed),
        value => {
            let mut json = Json { bytes: Vec::new(), fuel, stopped: None };
            if serde_json::to_writer(&mut json, value).is_err() {
                return Err(json.stopped.unwrap_or(EvaluationError::Failed));
            }
            let text = String::from_utf8(json.bytes).map_err(|_| EvaluationError::Failed)?;
            made(Variable::String(text), fuel)
        }
    }
}

/// A JSON text that is written until the fuel is spent.
struct Json<'a> {
    bytes: Vec<u8>,
    fuel: &'a mut Fuel,
    /// The reason why writing stopped.
    stopped: Option<EvaluationError>,
}

impl io::Write for Json<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.fuel.copy(bytes.len()) {
            Ok(()) => {
                self.bytes.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            Err(error) => {
                self.stopped = Some(error);
                Err(io::ErrorKind::OutOfMemory.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
