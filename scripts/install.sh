#!/usr/bin/env bash
# Installs the project into .venv from uv.lock, in the dependency lane that this machine can run.
#
#   scripts/install.sh            # LANE=tfx-1.16 or LANE=tfx-1.21 chooses; otherwise the machine decides
#
# Needs a Python 3 on the PATH; brings its own uv into .cache/uv when there is none that is new enough.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly uv_version=0.13.9 oldest_uv=0.9.0

fail() { echo "Error: $1" >&2; exit 1; }

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Prints the path of a uv that knows `exclude-dependencies`.
find_uv() {
  local found
  if found=$(command -v uv) && at_least "$("$found" --version | cut -d' ' -f2)" "$oldest_uv"; then
    echo "$found"
    return
  fi
  if [ ! -x .cache/uv/bin/uv ]; then
    echo "Bootstrapping uv $uv_version into .cache/uv" >&2
    command -v python3 >/dev/null || fail "there is no python3. Install Python 3, then run make again."
    rm -rf .cache/uv
    python3 -m venv .cache/uv >&2 ||
      fail "python3 cannot make a virtual environment. Install its venv module (Debian: apt install python3-venv)."
    .cache/uv/bin/python -m pip install -qq --disable-pip-version-check "uv==$uv_version" >&2 ||
      fail "uv could not be installed from PyPI. Check the network, or install uv $oldest_uv or newer yourself."
  fi
  echo .cache/uv/bin/uv
}

# Prints "LANE<tab>PYTHON<tab>WHY".
choose_lane() {
  local uv=$1 glibc python
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2) || glibc=0
  python=$("$uv" python find --no-project --system '>=3.11,<3.14' 2>/dev/null) || python=""
  case "${LANE:-}" in
    tfx-1.16) printf 'tfx-1.16\t3.10\tLANE asks for it\n' ;;
    tfx-1.21)
      at_least "$glibc" 2.39 || fail "LANE=tfx-1.21 needs glibc 2.39 or newer (Ubuntu 24.04, Debian 13); this is $glibc."
      printf 'tfx-1.21\t%s\tLANE asks for it\n' "${python:-3.13}" ;;
    "")
      if ! at_least "$glibc" 2.39; then
        printf 'tfx-1.16\t3.10\tglibc is %s, and tfx-1.21 needs 2.39\n' "$glibc"
      elif [ -n "$python" ]; then
        printf 'tfx-1.21\t%s\tglibc is %s and there is %s\n' "$python" "$glibc" "$("$python" --version)"
      else
        printf 'tfx-1.21\t3.13\tglibc is %s; uv brings Python 3.13\n' "$glibc"
      fi ;;
    *) fail "LANE is ${LANE}. Expected tfx-1.16 or tfx-1.21." ;;
  esac
}

[ "$(uname -sm)" = "Linux x86_64" ] || fail "this is $(uname -sm); TFX's packages exist for Linux on x86_64 only."
uv=$(find_uv)
IFS=$'\t' read -r lane python why < <(choose_lane "$uv") || exit 1
echo "Installing lane $lane because $why"
UV_COMPILE_BYTECODE=1 "$uv" sync --locked --quiet --python "$python"
touch .venv/.installed
