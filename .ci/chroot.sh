# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by the stages that try Loom in a Debian of their own. They run in a mount and PID namespace, so what they mount
# and start is gone when they end, however they end; .ci/runner.py then removes the directory.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Starts the stage again, as root and in the namespaces.
enter_namespaces()
{
  [ -z "${LOOM_CI_NAMESPACE:-}" ] || return 0
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  exec "${as_root[@]}" env "PATH=$PATH" "LOOM_CI_RESULTS=$RESULTS" "LOOM_CI_WORK=${LOOM_CI_WORK:-$(mktemp -d -p /var/tmp)}" \
    LOOM_CI_NAMESPACE=1 unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$0"
}

# The mirror that this machine itself uses.
mirror()
{
  local url
  url=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Component: main' |
    grep -v security | head -n 1)
  echo "${url:-http://deb.debian.org/debian/}"
}

# make_root SUITE DIRECTORY: a minimal Debian that reaches what this machine reaches.
make_root()
{
  local suite=$1 root=$2 url
  url=$(mirror)
  say "debootstrap $suite from $url"
  debootstrap --variant=minbase "$suite" "$root" "$url" >"$RESULTS/debootstrap.log" 2>&1 ||
    { cat "$RESULTS/debootstrap.log"; return 1; }
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  # Proxies and the like.
  apt-config dump | grep -E '^Acquire::(https?|ForceIPv[46]|Check-Date|Check-Valid-Until)\b.*"[^"]+";$' |
    grep -v -i auto-detect >"$root/etc/apt/apt.conf.d/90ci" || true
  if [[ $url == https:* ]]; then
    mkdir -p "$root/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  fi
}

# copy_sources DIRECTORY: the tree of the current commit, as a clone has it.
copy_sources()
{
  mkdir -p "$1"
  git -c safe.directory="$ROOT" archive --format=tar HEAD | tar -x -C "$1"
  git -c safe.directory="$ROOT" diff --quiet HEAD || note "changes that are not committed are left out"
}

# in_root DIRECTORY COMMAND...: with the environment of a plain login and no standard input.
in_root()
{
  local root=$1
  shift
  mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
  chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}
