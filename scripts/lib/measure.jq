# One measured target as one object. Inputs: $name, $stats[0], $steps[0], $applied and $undone (one result of the tool per switch), $plan[0].

def quantile($share): sort | if length == 0 then null else .[([length * $share | floor, length - 1] | min)] end;
def pauses: map(.. | objects | .pause_ns? // empty) | {count: length, p50: quantile(0.5), p99: quantile(0.99), max: max};

{
	name: $name,
	steps: $steps[0],
	plan: ($plan[0].statistics // null),
	pause_ns: {apply: ($applied | pauses), undo: ($undone | pauses)}
} + $stats[0]
