#!/bin/bash
# The code is formatted as .clang-format says.
set -u
cd "$(dirname "$0")/.." || exit 1
command -v clang-format >/dev/null || { echo "clang-format is not installed (scripts/setup)"; exit 77; }
find formats analyze profile apply dump tests -name '*.[ch]' -print0 | xargs -0 clang-format --dry-run --Werror
