#!/usr/bin/env bash
# Makes the packages of a build and uses what is in them, where it lies. usage: packages.sh BUILD WORK_FOLDER MODEL
set -euo pipefail
build=$1 work=$2 model=$3
rm -rf "$work"
mkdir -p "$work"

fail() {
  echo "$*"
  exit 1
}

for generator in DEB TGZ; do
  (cd "$build" && cpack -G $generator -B "$work/$generator") > "$work/$generator.log" 2>&1 || { tail -n 30 "$work/$generator.log"; exit 1; }
done

# Debian: what each asks for, that lintian has nothing to say, and that the program runs.
debs=("$work"/DEB/*.deb)
[[ ${#debs[@]} == 3 ]] || fail "expected three Debian packages: ${debs[*]}"
library=("$work"/DEB/libklens[0-9]_*.deb)
program=("$work"/DEB/klens_*.deb)
depends() { dpkg-deb -f "$1" Depends; }
[[ $(depends "${library[0]}") == *libtbb12* ]] || fail "the library's package does not ask for oneTBB: $(depends "${library[0]}")"
[[ $(depends "${program[0]}") == *libedit2* && $(depends "${program[0]}") == *libklens* ]] ||
  fail "the program's package does not ask for libedit and libklens: $(depends "${program[0]}")"
for deb in "${debs[@]}"; do
  dpkg-deb -x "$deb" "$work/root"
done
[[ -f $work/root/usr/include/klens/klens.h && -f $work/root/usr/lib/cmake/klens/klens-config.cmake ]] || fail "the headers or the CMake package are missing"
! readelf -d "$work/root/usr/bin/klens" "$work"/root/usr/lib/libklens.so | grep -E 'R(UN)?PATH' || fail "a Debian package has a path to libraries"
LD_LIBRARY_PATH=$work/root/usr/lib "$work/root/usr/bin/klens" generate "$model" -p "The river" -n 4 --temp 0
if command -v lintian > /dev/null; then
  lintian --fail-on error,warning "${debs[@]}"
else
  echo "lintian: left out, as it is not installed"
fi

# Other distributions: from a folder that is anywhere, with its own libraries.
mkdir -p "$work/some where"
tar -xf "$work"/TGZ/*.tar.gz -C "$work/some where"
folder=("$work/some where"/klens-*)
cat "${folder[0]}/README"
env -i "${folder[0]}/bin/klens" generate "$model" -p "The river" -n 4 --temp 0
foreign=$(env -i ldd "${folder[0]}/bin/klens" | grep -vE 'linux-vdso|ld-linux|lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+)\.so' | grep -vF "${folder[0]}" || true)
[[ -z $foreign ]] || fail "not in the tarball: $foreign"
env -i PKG_CONFIG_PATH="${folder[0]}/lib/pkgconfig" PATH="$PATH" pkg-config --cflags klens | grep -F 'some' > /dev/null || fail "klens.pc does not move with its folder"
ls -s --block-size=KiB "${debs[@]}" "$work"/TGZ/*.tar.gz
