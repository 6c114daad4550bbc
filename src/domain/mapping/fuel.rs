//! The bound on the cost of an expression's evaluation.
//!
//! An administrator's expression runs on the data of people and members, so its text is not enough
//! to bound the cost. The evaluator therefore counts one step for each node that it visits and for
//! each element or sixteen bytes that it touches, and the bytes of everything that it produces.
//! Each value has its [`Fuel`]; the values of one question share a [`Pass`], which allows less on
//! average than a single value may take (docs/decisions/0028-fuel-for-expressions.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::EvaluationError;
use crate::domain::limits;

/// Steps between two checks of the flag: some ten microseconds.
const LOOK: u64 = 1024;
/// Bytes that count as one step.
const BYTES_A_STEP: u64 = 16;

/// Stops evaluations whose result no one waits for any longer. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends every evaluation that checks this flag.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The budget that the values of one question share.
#[derive(Debug)]
pub struct Pass {
    /// Steps that are left.
    steps: u64,
    exhausted: bool,
    stop: Stop,
}

impl Default for Pass {
    fn default() -> Self {
        Self::new(Stop::default())
    }
}

impl Pass {
    /// A pass that ends early once `stop` is set.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { steps: limits::PASS_STEPS, exhausted: false, stop }
    }

    /// A pass with nothing left: every value that is not a plain path is too costly.
    pub(in crate::domain) fn spent() -> Self {
        Self { steps: 0, exhausted: true, stop: Stop::default() }
    }

    /// Whether the values together were too costly. Further values are not evaluated at all.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Records that another part of the same pass was exhausted.
    pub(in crate::domain) fn join(&mut self, other: &Self) {
        self.exhausted |= other.exhausted;
    }

    /// The flag that ends it early.
    #[must_use]
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Evaluates one value.
    pub(super) fn value<T>(
        &mut self,
        evaluate: impl FnOnce(&mut Fuel) -> Result<T, EvaluationError>,
    ) -> Result<T, EvaluationError> {
        if self.stop.is_set() {
            return Err(EvaluationError::Stopped);
        }
        if self.exhausted {
            return Err(EvaluationError::TooCostly);
        }
        self.steps = self.steps.saturating_add(limits::PASS_STEPS_EACH);
        let steps = self.steps.min(limits::EVALUATION_STEPS);
        let mut fuel = Fuel::new(steps, limits::EVALUATION_BYTES, self.stop.clone());
        let result = evaluate(&mut fuel);
        self.steps -= steps - fuel.steps;
        // The pass is spent, although this value took less than the limit of a single one.
        self.exhausted = self.steps == 0;
        result
    }
}

/// The remaining budget of one evaluation.
pub(super) struct Fuel {
    steps: u64,
    bytes: u64,
    /// The number of steps left at which the flag is checked next.
    look: u64,
    stop: Stop,
}

impl Fuel {
    pub(super) fn new(steps: u64, bytes: u64, stop: Stop) -> Self {
        Self { steps, bytes, look: steps.saturating_sub(LOOK), stop }
    }

    /// Takes steps.
    #[inline]
    pub(super) fn steps(&mut self, steps: u64) -> Result<(), EvaluationError> {
        let Some(left) = self.steps.checked_sub(steps) else {
            self.steps = 0;
            return Err(EvaluationError::TooCostly);
        };
        self.steps = left;
        if left < self.look {
            self.look = left.saturating_sub(LOOK);
            if self.stop.is_set() {
                return Err(EvaluationError::Stopped);
            }
        }
        Ok(())
    }

    /// Takes the steps for this number of elements.
    #[inline]
    pub(super) fn elements(&mut self, count: usize) -> Result<(), EvaluationError> {
        self.steps(count as u64)
    }

    /// Takes the steps for reading this number of bytes.
    #[inline]
    pub(super) fn read(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.steps(1 + bytes as u64 / BYTES_A_STEP)
    }

    /// Takes bytes that are about to be allocated.
    #[inline]
    pub(super) fn produce(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        let left = self.bytes.checked_sub(bytes as u64);
        self.bytes = left.ok_or(EvaluationError::TooCostly)?;
        Ok(())
    }

    /// Takes the cost of copying a text of this number of bytes.
    pub(super) fn copy(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.read(bytes)?;
        self.produce(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_take_so_much_and_a_pass_less_on_average() {
        let take = |steps| move |fuel: &mut Fuel| fuel.steps(steps);
        let most = limits::EVALUATION_STEPS;
        let mut pass = Pass::default();
        assert_eq!(pass.value(take(most)), Ok(()));
        assert_eq!(pass.value(take(most + 1)), Err(EvaluationError::TooCostly));
        assert!(!pass.is_exhausted());
        // Cheap values can be evaluated without end.
        for _ in 0..10_000 {
            assert_eq!(pass.value(take(limits::PASS_STEPS_EACH)), Ok(()));
        }
        let taken = std::iter::repeat_with(|| pass.value(take(most))).take_while(Result::is_ok);
        assert_eq!(taken.count(), 8);
        assert!(pass.is_exhausted());
        assert_eq!(pass.value(take(0)), Err(EvaluationError::TooCostly));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut fuel = Fuel::new(10, 100, Stop::default());
        assert_eq!(fuel.produce(100), Ok(()));
        assert_eq!(fuel.produce(1), Err(EvaluationError::TooCostly));
        assert_eq!(fuel.read(usize::MAX), Err(EvaluationError::TooCostly));
    }

    #[test]
    fn a_flag_ends_it_within_a_look() {
        let stop = Stop::default();
        let mut fuel = Fuel::new(1_000_000, 0, stop.clone());
        assert_eq!(fuel.steps(1), Ok(()));
        stop.set();
        let went_on = std::iter::repeat_with(|| fuel.steps(1)).take_while(Result::is_ok).count();
        assert!(went_on <= 1024, "{went_on}");
        assert_eq!(Pass::new(stop).value(|_| Ok(())), Err(EvaluationError::Stopped));
    }
}
