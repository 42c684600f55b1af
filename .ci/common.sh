# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by the stages: how they build, test and count. A stage goes on after a check that failed, so that one run tells all,
# and ends with `finish`. Anything else that fails ends it at once (set -e).

. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

# What .ci/runner.py reads. A stage that is started by hand counts into a directory of its own.
RESULTS=${LOOM_CI_RESULTS:-$(mktemp -d)}
status=0

# The compilers behind ccache, which Meson would only find for those that it chose itself.
export PATH=/usr/lib/ccache:$PATH
# The same tree in another directory (a fresh clone, a root directory in /var/tmp) hits the cache too.
export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-2G}

# One counted check: check NAME COMMAND...
check()
{
  local name=$1 started=$SECONDS
  shift
  if "$@"; then
    echo "pass $name" >>"$RESULTS/checks"
    note "pass: $name ($((SECONDS - started)) s)"
  else
    echo "fail $name" >>"$RESULTS/checks"
    note "FAIL: $name ($((SECONDS - started)) s)"
    status=1
  fi
}

# build DIRECTORY OPTION...: sets it up afresh, then builds it. Compilers come by CC and CXX.
build()
{
  local directory=$1
  shift
  rm -rf "$directory"
  meson setup "$directory" "$@" >"$RESULTS/setup.log" 2>&1 || { cat "$RESULTS/setup.log"; return 1; }
  ninja -C "$directory" --quiet
}

# Unit and corpus tests of a build directory. The NEON code has a stage of its own.
unit_tests()
{
  meson test -C "$1" --no-suite neon --no-rebuild --print-errorlogs --quiet \
    --timeout-multiplier "${LOOM_TEST_PATIENCE:-1}" || status=1
  cp "$1/meson-logs/testlog.json" "$RESULTS/testlog-$(basename "$1").json"
}

# End-to-end tests with the Loom of a build directory: e2e_tests DIRECTORY PYTEST_ARGUMENT...
e2e_tests()
{
  local directory=$1
  shift
  LOOM_BIN=$ROOT/$directory/loom LOOM_DEMO_DIR=$ROOT/$directory/demo /usr/bin/python3 -m pytest -q -n 4 \
    --junitxml="$RESULTS/e2e.xml" tests/e2e "$@" || status=1
}

# The sanitizers of gcc 12 and clang 14 want their shadow memory where a kernel with 32 random bits may put something else.
without_random_addresses()
{
  if [ -z "${LOOM_CI_PLAIN:-}" ] && setarch -R true 2>/dev/null; then
    LOOM_CI_PLAIN=1 exec setarch -R "$0"
  fi
}

finish()
{
  exit $status
}
