#!/bin/bash
# Layering: includes go base <- formats <- {analyze, profile, apply, dump}; third-party headers stay behind their fences.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
complain() { printf '%s\n' "$1"; bad=1; }

# Usage: only_in HEADER-REGEX ALLOWED-PATH-REGEX
only_in() {
	local hits
	hits=$(grep -rnE "^#include <($1)" --include='*.[chS]' formats analyze profile apply dump | grep -vE "^($2)")
	[ -z "$hits" ] || complain "outside its fence ($2): $hits"
}
# Usage: may_include DIRECTORY ALLOWED-PREFIX-REGEX
may_include() {
	local hits
	hits=$(grep -rnE '^#include "' --include='*.[chS]' "$1" | grep -vE "#include \"($2)")
	[ -z "$hits" ] || complain "$1 may include only $2: $hits"
}
may_include formats/base 'formats/base/'
may_include formats 'formats/'
for tool in analyze profile apply dump; do
	may_include "$tool" "formats/|$tool/"
done
only_in 'libelf|gelf|elfutils|dwarf|libdwarf' 'analyze/elf/'
only_in 'Zydis' 'analyze/code/|profile/emulate/op'
only_in 'capstone' 'analyze/code/'
only_in 'perfmon' 'profile/event'
only_in 'lz4|xxhash' 'formats/'
only_in 'zstd' 'profile/import/zstream'
[ "$bad" = 0 ] && echo "layers: includes go one way, fences hold"
exit "$bad"
