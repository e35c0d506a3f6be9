//! What the tree is told after a plan, and how a plan is cut into parts each of which is whole.

use mica_core::plan::{Plan, Step};

/// The steps in parts that leave nothing in `work`: what the tree knows is told after each, so that it is right whatever fails later.
pub(super) fn parts(plan: &Plan) -> Vec<&[Step]> {
    let steps: &[Step] = plan;
    let mut parts = Vec::new();
    let (mut start, mut has_temp) = (0, false);
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Dress(_) | Step::Stage | Step::TakeOut(_) => has_temp = true,
            Step::Place(_) | Step::Replace(_) | Step::Discard => has_temp = false,
            _ => {}
        }
        if !has_temp {
            parts.extend(steps.get(start..=number));
            start = number + 1;
        }
    }
    parts.extend(steps.get(start..).filter(|rest| !rest.is_empty()));
    parts
}
