# shellcheck shell=bash
# Sourced by the other scripts: goes to the top of the checkout and makes the virtual environment there.
#
# PYTHON  the interpreter that makes it; by default the newest of 3.11 to 3.14 on the PATH.
# VENV    where it is; .venv by default.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
VENV="${VENV:-.venv}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

step() { printf '\n==> [%4ds] %s\n' "$SECONDS" "$*" >&2; }

fail() {
    printf '\n%s\n' "$@" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.14 python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "RouteMQ needs Python 3.11 to 3.14, and there is none on the PATH. Install one, or name it: PYTHON=/path/to/python $0"
}

# Prints the prefix for commands that need root: nothing, or sudo without a password. Fails when neither may be had.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        echo ""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        echo "sudo -n"
    else
        return 1
    fi
}

# apt_install PACKAGE…: true when they are installed. Debian starts a server as soon as it is installed; policy-rc.d forbids
# it, because the tests start their own on free ports, and a developer did not ask for a server on the default one.
apt_install() {
    local root policy=/usr/sbin/policy-rc.d status=0
    command -v apt-get >/dev/null 2>&1 && root="$(as_root)" || return 1
    step "Installing $* from Debian's packages"
    if [ -e "$policy" ]; then
        policy=""
    else
        printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null && $root chmod +x "$policy"
    fi
    { $root apt-get update -qq &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >&2 </dev/null || status=1
    [ -z "$policy" ] || $root rm -f "$policy"
    return "$status"
}

make_venv() {
    local python
    python="$(find_python)" || exit 1
    step "Making $VENV with $("$python" --version)"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps this part of Python in a package of its own.
        apt_install "$(basename "$(readlink -f "$(command -v "$python")")")-venv" ||
            fail "$python has no venv module. On Debian and Ubuntu: apt-get install python3-venv"
    fi
    "$python" -m venv "$VENV" || fail "$python could not make the virtual environment $VENV"
}

# ensure_environment [dev]: RouteMQ is installed in $VENV, with what the tests need when asked for. Quick when nothing changed.
ensure_environment() {
    local extra="${1:-}" stamp wanted installed
    [ -x "$VENV/bin/python" ] || make_venv
    wanted="$("$VENV/bin/python" -c 'import hashlib, sys; print(sys.version_info[:2], hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest())')"
    stamp="$VENV/.routemq${extra:+-$extra}"
    for installed in "$stamp" "$VENV/.routemq-dev"; do
        if [ -f "$installed" ] && [ "$(cat "$installed")" = "$wanted" ]; then
            return
        fi
    done
    # What an interrupted run, or a Python without ensurepip, left behind has no pip.
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    step "Installing RouteMQ${extra:+ and its $extra tools} into $VENV"
    # Errors alone: a machine's pip configuration may warn at every line.
    "$VENV/bin/python" -m pip install -qq --editable ".${extra:+[$extra]}" </dev/null || fail "pip could not install RouteMQ; its own words stand above."
    printf '%s\n' "$wanted" >"$stamp"
}
