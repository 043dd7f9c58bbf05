#!/bin/bash
# See desc. KILLED_STEP=1 tries every step; the default tries every third, starting at a random one, to be quick.
exec "$(dirname "$0")/../../torture/kills" --every "${KILLED_STEP:-3}" --random 5 threads
