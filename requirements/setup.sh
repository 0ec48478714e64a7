#!/usr/bin/env bash
# Makes .venv from a hashed lock file. Done already: ends at once. STACK=1.16|1.21 overrides.
#
#   requirements/setup.sh          make or renew .venv
#   requirements/setup.sh --uv     print the path of uv, bootstrapped if need be
set -euo pipefail
cd "$(dirname "$0")/.."

log=.venv/setup.log
stamp=.venv/ncs4cvr-setup

say() { printf 'set-up: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

install_hint() { # Debian's package names, Fedora's package names
  if command -v apt-get >/dev/null; then echo "Install it: apt-get install $1"
  elif command -v dnf >/dev/null; then echo "Install it: dnf install $2"
  else echo "Install it (Debian calls it $1; Fedora $2)"; fi
}

# A uv that is too old knows no hashed build constraints; the lock file is pinned to a known one.
find_uv() {
  local version
  if version=$(uv --version 2>/dev/null) && [[ $version =~ ^uv\ 0\.([0-9]+) ]] \
      && ((BASH_REMATCH[1] >= 5)); then
    command -v uv
    return
  fi
  if ! cmp -s requirements/uv.txt .uv/requirements.txt; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null \
      || fail "uv is not on PATH and needs a python3 >= 3.8. $(install_hint 'python3 python3-venv' python3)"
    python3 -c 'import ensurepip, venv' 2>/dev/null \
      || fail "uv is not on PATH, and python3 has no venv module to get it with. $(install_hint python3-venv python3-pip)"
    say "getting uv into .uv"
    rm -rf .uv
    if ! { python3 -m venv .uv && .uv/bin/python -m pip install --quiet --no-deps \
        --require-hashes -r requirements/uv.txt; } >.uv.log 2>&1; then
      tail -n 15 .uv.log >&2
      rm -rf .uv .uv.log
      fail "uv could not be installed (see above)"
    fi
    rm -f .uv.log
    cp requirements/uv.txt .uv/requirements.txt
  fi
  echo "$PWD/.uv/bin/uv"
}

glibc() { getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2; }

at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Prints the first interpreter of one of the given versions; one with C headers is preferred.
# Every candidate is run: a pyenv shim lies on PATH even where its version is not active.
find_python() { # 3.13 3.12 ...
  local version candidate found without_headers=
  for version in "$@"; do
    for candidate in "$(command -v "python$version")" \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python \
        "$(command -v python3)"; do
      [ -n "$candidate" ] || continue
      found=$("$candidate" - "$version" 2>/dev/null <<'PY'
import os, sys, sysconfig
if "%d.%d" % sys.version_info[:2] == sys.argv[1] and sys.maxsize > 2**32:
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    print(int(os.path.exists(header)), sys.executable)
PY
      ) || continue
      case $found in
        1\ *) echo "${found#1 }"; return ;;
        0\ *) : "${without_headers:=${found#0 }}" ;;
      esac
    done
  done
  [ -n "$without_headers" ] && echo "$without_headers"
}

choose_stack() { # sets stack and python ("" where uv has to bring one)
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] \
    || fail "TFX has wheels for Linux on x86_64 only, and this is $(uname -s) on $(uname -m). Use a container or a virtual machine."
  local libc
  libc=$(glibc)
  [ -n "$libc" ] || fail "TFX's wheels need glibc, and this system has another C library. Use Debian, Ubuntu or Fedora."
  case ${STACK:-} in
    1.16 | 1.21) stack=$STACK ;;
    "") stack=1.16 ;;
    *) fail "STACK=$STACK is unknown; expected 1.16 or 1.21 (the TFX version)." ;;
  esac
  python=
  if [ "${STACK:-1.21}" = 1.21 ]; then
    if at_least "$libc" 2.39; then
      python=$(find_python 3.13 3.12 3.11 3.10 || true)
      [ -z "$python" ] || stack=1.21
    elif [ -n "${STACK:-}" ]; then
      fail "TFX 1.21 needs glibc >= 2.39 (Ubuntu 24.04, Debian 13), and this system has $libc. Use STACK=1.16."
    fi
  fi
  [ "$stack" = 1.21 ] || python=$(find_python 3.10 || true)
}

# pyfarmhash comes as source: better said now than after a page of compiler output.
check_compiler() { # python
  local include version debian= fedora= missing=
  include=$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')
  version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if ! printf '#include <cstddef>\nint main() { return 0; }\n' \
      | ${CC:-cc} -x c++ -fsyntax-only - 2>/dev/null || ! command -v "${CXX:-c++}" >/dev/null; then
    missing="a C++ compiler" debian=g++ fedora=gcc-c++
  fi
  if [ ! -e "$include/Python.h" ]; then
    missing+="${missing:+ and }the C headers of Python $version ($include/Python.h)"
    debian+=" python$version-dev" fedora+=" python$version-devel"
  fi
  [ -z "$missing" ] || fail "missing $missing; pyfarmhash has to be compiled. $(install_hint "${debian# }" "${fedora# }")"
}

step() { # what, command...
  say "$1"
  shift
  if ! "$@" >>"$log" 2>&1; then
    tail -n 15 "$log" >&2
    fail "failed; all of it is in $log"
  fi
}

if [ "${1:-}" = --uv ]; then
  find_uv
  exit
fi

# One at a time: two makes at once would build the same .venv. This script is its own lock file.
exec 9<requirements/setup.sh
! command -v flock >/dev/null || flock 9

choose_stack
lock=requirements/tfx-$stack.txt
wanted="TFX $stack, ${python:-a Python of uv}, $PWD
$(cat "$lock" setup.py requirements/setup.sh | cksum)"
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit; fi

uv=$(find_uv)
export VIRTUAL_ENV=$PWD/.venv UV_NO_PROGRESS=1
export UV_PYTHON_DOWNLOADS=${UV_PYTHON_DOWNLOADS:-automatic}

# With no stamp a set-up was broken off, and nothing of it is to be trusted.
if [ "$(head -n 1 "$stamp" 2>/dev/null)" != "$(head -n 1 <<<"$wanted")" ] \
    || ! .venv/bin/python -c '' 2>/dev/null; then
  fallback=3.10
  [ "$stack" = 1.16 ] || fallback=3.12
  if ! out=$("$uv" venv --quiet --clear --python "${python:-$fallback}" .venv 2>&1); then
    printf '%s\n' "$out" >&2
    rm -rf .venv
    fail "TFX $stack needs Python ${python:-$fallback}, and uv could not make an environment with it. $(install_hint "python$fallback python$fallback-dev" "python$fallback-devel")"
  fi
fi
check_compiler .venv/bin/python
rm -f "$stamp"
: >"$log"

say "TFX $stack on $(.venv/bin/python --version) (a few minutes the first time; log: $log)"
# The lock is its own build constraint: what compiles here compiles with pinned, hashed tools.
step "installing $(grep -c '==' "$lock") packages" \
  "$uv" pip sync --compile-bytecode --require-hashes --build-constraints "$lock" "$lock"
step "installing ncs4cvr itself, editable" \
  "$uv" pip install --no-deps --no-build-isolation --editable .
printf '%s\n' "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "done"
