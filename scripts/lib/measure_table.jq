# An array of measured targets as tab-separated lines for people.

def places($n): if . == null then "-" else . * pow(10; $n) | round / pow(10; $n) | tostring end;
def percent: if . == null then "-" else "\(. * 100 | places(2)) %" end;
def compared($what; $unit; $divisor):
	[$what, (.before / $divisor | places(2)) + $unit, (.after / $divisor | places(2)) + $unit,
	 "x \(.ratio | places(3))", "[\(.low | places(3)), \(.high | places(3))]"];

.[] |
[.name, "before", "after", "gain", "95 % interval"],
(.user_ns_per_transaction | compared("  user time per transaction"; " us"; 1000)),
(.cpu_ns_per_transaction | compared("  user + system time"; " us"; 1000)),
(.transactions_per_second | compared("  transactions per second"; ""; 1)),
["  paired rounds", "\(.rounds)"],
["  pause, median / worst", "apply \(.pause_ms.apply.p50 | places(2)) / \(.pause_ms.apply.max | places(2)) ms", "undo \(.pause_ms.undo.p50 | places(2)) / \(.pause_ms.undo.max | places(2)) ms"],
["  hot bytes, coverage", "\(.plan.hot_bytes // "-")", (.plan.coverage | percent)],
["  cache lines, pages", "\(.plan.lines_before // "-"), \(.plan.pages_before // "-")", "\(.plan.lines_after // "-"), \(.plan.pages_after // "-")"],
(.steps[] | ["  \(.step)", "\(.seconds | places(2)) s", "\(if .peak_kib then .peak_kib / 1024 | places(1) else "-" end) MiB"])
| @tsv
