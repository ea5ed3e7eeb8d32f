#!/usr/bin/env bash
# Whether a bare Debian 12, which has nothing but its essential packages and apt, can use what klens gives to others.
#   tests/packages/bare.sh packages DEB_FOLDER PROGRAM   installs the packages there, and chats as PROGRAM does here
#   tests/packages/bare.sh wheel                         builds and installs the wheel there, and runs its tests
# Ends in 77, which ctest shows as skipped, where no such root can be made: by others than root, without mmdebstrap
# (cmake/install-dependencies.sh --tests), or where Debian's mirror does not answer. The root is kept in build/bare, and
# each run begins with a copy of it. ctest runs the packages alone: the wheel takes ten minutes of two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

what=${1-}
bare=$PWD/build/bare
pristine=$bare/debian12.tar root=$bare/$what
certificates=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
model=apps/demo-model/wiki-mamba

fail() {
  echo "$*"
  exit 1
}
skip() {
  echo "skip: $*"
  exit 77
}

# What this machine's apt knows of Debian 12, as lines of a sources.list; none: mmdebstrap has its own.
debian_sources() {
  # shellcheck disable=SC2016  # apt's own variables
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' \
    | grep -E ' bookworm(-updates|-security)? main$' | sort -u || true
}

make_pristine() {
  [[ ! -f $pristine ]] || return 0
  local sources in_memory=()
  sources=$(debian_sources)
  # dpkg waits for the disk after every file, three times as long as all else takes.
  [[ $(df --output=avail -k /dev/shm 2> /dev/null | tail -n 1) -lt 2000000 ]] || in_memory=(TMPDIR=/dev/shm)
  env "${in_memory[@]}" mmdebstrap --variant=minbase --format=tar bookworm "$pristine.part" ${sources:+"$sources"} \
    > "$bare/mmdebstrap.log" 2>&1 || { tail -n 10 "$bare/mmdebstrap.log"; skip "a root of Debian 12 cannot be made"; }
  mv "$pristine.part" "$pristine"
}

# in_root COMMAND...: in the root. Of this machine's environment it sees how to reach the network alone, and Ctrl-C is
# heard, which a job in the background would ignore.
in_root() {
  local network=()
  mapfile -t network < <(env | grep -iE '^((https?|no)_proxy|PIP_(INDEX_URL|EXTRA_INDEX_URL))=' || true)
  [[ ! -f $root/etc/certificates-outside.crt ]] || network+=(PIP_CERT=/etc/certificates-outside.crt)
  env -i --default-signal=INT "${network[@]}" PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/tmp DEBIAN_FRONTEND=noninteractive \
    chroot "$root" "$@"
}

# Goes on where mounts and processes are its own, and end with it.
apart() {
  [[ -z ${KLENS_BARE_APART-} ]] || return 0
  [[ $(id -u) == 0 ]] || skip "only root can make a root of its own"
  unshare --mount --pid --fork true 2> /dev/null || skip "this root may not mount (a container without privileges)"
  command -v mmdebstrap > /dev/null || skip "there is no mmdebstrap (bash cmake/install-dependencies.sh --tests)"
  KLENS_BARE_APART=yes exec unshare --mount --pid --fork --kill-child bash tests/packages/bare.sh "$@"
}

begin() {
  mkdir -p "$bare"
  make_pristine
  rm -rf "$root"
  mkdir "$root"
  # In memory where there is enough.
  [[ $(awk '/^MemAvailable/ {print $2}' /proc/meminfo) -lt 8000000 ]] || mount -t tmpfs -o mode=755 bare "$root"
  tar -xf "$pristine" -C "$root" --exclude='./dev/*'
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  # How this machine reaches the network. Its certificates lie where the package of that name does not replace them.
  install -m 644 /etc/resolv.conf "$root/etc/resolv.conf"
  [[ ! -f /etc/pip.conf ]] || install -m 644 /etc/pip.conf "$root/etc/pip.conf"
  [[ ! -f $certificates ]] || install -m 644 "$certificates" "$root/etc/certificates-outside.crt"
  echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
  echo 'Acquire::Retries "3";' > "$root/etc/apt/apt.conf.d/retries"
  in_root apt-get update -qq --error-on=any || skip "Debian's mirror does not answer"
  rm -f "$bare/$what.log"
  echo "bare: $(in_root dpkg-query -W | wc -l) packages"
}

# logged LOG SHELL_COMMAND: in the root; its output, in LOG, is shown if it fails.
logged() {
  in_root bash -c "$2" >> "$bare/$1.log" 2>&1 || { tail -n 40 "$bare/$1.log"; return 1; }
}

# apt finds what the packages depend on, and nobody in particular uses them.
try_packages() {
  local debs=("$1"/*.deb) program=$2 options=(-p "The river" -n 12 --greedy) here there
  [[ -f ${debs[0]} ]] || fail "no packages in $1"
  mkdir "$root/debs"
  cp "${debs[@]}" "$root/debs"
  cp -r "$model" "$root/model"
  logged packages 'apt-get install -y -qq --no-install-recommends /debs/*.deb' || fail "the packages cannot be installed"
  in_root klens --version
  here=$("$program" chat "$model" "${options[@]}")
  there=$(in_root chroot --userspec=nobody:nogroup / klens chat /model "${options[@]}")
  echo "$there"
  [[ -n $there && $there == "$here" ]] || fail "here, the program says: $here"
  logged packages "apt-get purge -y -qq klens libklens-dev 'libklens[0-9]'" || fail "the packages cannot be removed"
  ! find "$root/usr" "$root/etc" -iname '*klens*' | grep . || fail "left behind by the packages"
}

# What python/README.md tells a user to do, in a clone.
try_wheel() {
  mkdir "$root/src"
  tar --exclude='./build*' --exclude=./.git -cf - . | tar -xf - --no-same-owner -C "$root/src"
  logged wheel 'cd /src && bash cmake/install-dependencies.sh --python' || fail "what building needs cannot be installed"
  logged wheel 'python3 -m venv /venv' || fail "there is no venv"
  logged wheel '/venv/bin/pip download -q --retries 1 --no-deps -d /tmp/probe nanobind' ||
    skip "the Python package registry does not answer"
  logged wheel 'cd /src && /venv/bin/pip install -c tests/python-requirements.txt . pytest' || fail "pip cannot install klens"
  in_root bash -c 'cd /src && /venv/bin/python -m pytest -q -p no:cacheprovider tests/python'
}

case $what in
  packages)
    [[ $# == 3 ]] || fail "usage: $0 packages DEB_FOLDER PROGRAM"
    apart "$@"
    begin
    try_packages "$2" "$3"
    ;;
  wheel)
    apart "$@"
    begin
    try_wheel
    ;;
  *)
    fail "usage: $0 packages DEB_FOLDER PROGRAM | wheel"
    ;;
esac
