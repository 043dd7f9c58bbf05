# One measured target as one object. Inputs: $name, $stats[0], $steps[0], $applied and $undone (one result of the tool per switch), $plan[0].

def quantile($share): sort | if length == 0 then null else .[[(length * $share | floor), length - 1] | min] end;
def pauses: map(.. | objects | .pause_ms? // empty) | {count: length, p50: quantile(0.5), p99: quantile(0.99), max: max};
def sum(f): map(f // 0) | add;

# The plan's own predictions, over all modules; shares are of the profile's weight.
def predictions: [.modules[]? | .stats] | if length == 0 then null else {
	modules: length,
	functions: sum(.functions),
	hot_bytes: sum(.hot_bytes),
	coverage: (sum(.weight_covered) / ([sum(.weight_total), 1] | max)),
	taken_before: sum(.taken_before),
	taken_after: sum(.taken_after),
	lines_before: sum(.lines_before),
	lines_after: sum(.lines_after),
	pages_before: sum(.pages_before),
	pages_after: sum(.pages_after)
} end;

{
	name: $name,
	steps: $steps[0],
	plan: ($plan[0] | predictions),
	pause_ms: {apply: ($applied | pauses), undo: ($undone | pauses)}
} + $stats[0]
