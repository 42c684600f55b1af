# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by the scripts of this folder and of .ci/: strict mode, the root of the project as working directory, Debian's own
# tools first, and a few words for people.

set -euo pipefail

# A pyenv, a virtual environment or a Perl of one's own that is first on the caller's PATH has neither meson nor
# python3-pytest nor the MaxMind writer, or hides that Debian's are not installed.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV PERL5LIB PERL5OPT CDPATH
export LC_ALL=C.UTF-8

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

# A step begins.
say()
{
  printf '%s==> %s%s\n' "$bold" "$*" "$plain"
}

# A line below a step.
note()
{
  printf '    %s\n' "$*"
}

die()
{
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Prints the comment at the top of the calling script, which is its help.
help()
{
  sed -n '/^#!/d; /^# SPDX/d; /^#/!q; s/^# \{0,1\}//p' "$0" | sed '/./,$!d'
}

# An earlier run as root leaves a build directory that others can't write to.
require_writable()
{
  if [ -e "$1" ] && [ ! -w "$1" ]; then
    die "$1 belongs to $(stat -c %U "$1"): remove it, or work as that user"
  fi
}
