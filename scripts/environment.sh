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

# may_install ROOT PACKAGE…: says what would be installed. Root and CI are not asked, so that a fresh machine needs no second
# command; whoever lends sudo is.
may_install() {
    local root="$1" answer
    shift
    printf '\n%s\n' "Not on this machine: $*" "To be installed from Debian's packages${root:+, with sudo}; no server is started." >&2
    if [ -z "$root" ] || [ "${CI:-}" = true ]; then
        return
    fi
    if ! [ -t 0 ] || ! [ -t 2 ]; then
        echo "There is nobody to ask: CI=true $0 installs them." >&2
        return 1
    fi
    read -r -p "Install them? [Y/n] " answer
    case "$answer" in '' | [Yy]*) ;; *) return 1 ;; esac
}

# apt_install PACKAGE…: true when they are installed. Debian starts a server as soon as it is installed; policy-rc.d forbids
# it, because the tests start their own on free ports, and a developer did not ask for a server on the default one.
apt_install() {
    local root
    command -v apt-get >/dev/null 2>&1 && root="$(as_root)" || return 1
    may_install "$root" "$@" || return 1
    step "Installing $* from Debian's packages"
    # A shell of its own, whose end takes the file away again, whoever interrupts it.
    (
        policy="${POLICY_RC_D:-/usr/sbin/policy-rc.d}"
        mark="# Written by RouteMQ's scripts while they install; to be removed."
        clean_up() { [ -z "$policy" ] || $root rm -f "$policy"; }
        # By the signal itself, so that the script that waits here ends by it too.
        die_of() { clean_up; trap - EXIT "$1"; kill "-$1" "$BASHPID"; }
        # One that is there is somebody else's, unless we were killed before we could take it away.
        if [ -e "$policy" ] && ! grep -qxF "$mark" "$policy" 2>/dev/null; then
            policy=""
        else
            trap clean_up EXIT
            for signal in INT TERM HUP; do
                # shellcheck disable=SC2064 # the signal's name is known now
                trap "die_of $signal" "$signal"
            done
            printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | $root tee "$policy" >/dev/null && $root chmod +x "$policy" || exit 1
        fi
        $root apt-get update -qq &&
            $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
    ) >&2 </dev/null
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

# ensure_environment dev|test: RouteMQ is installed in $VENV with this extra; test has all of dev. Quick when nothing changed.
ensure_environment() {
    local extra="$1" stamp wanted installed
    [ -x "$VENV/bin/python" ] || make_venv
    wanted="$("$VENV/bin/python" -c 'import hashlib, sys; print(sys.version_info[:2], hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest())')"
    stamp="$VENV/.routemq-with-$extra"
    for installed in "$stamp" "$VENV/.routemq-with-test"; do
        if [ -f "$installed" ] && [ "$(cat "$installed")" = "$wanted" ]; then
            return
        fi
    done
    # What an interrupted run, or a Python without ensurepip, left behind has no pip.
    "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
    step "Installing RouteMQ and its $extra tools into $VENV"
    # Errors alone: a machine's pip configuration may warn at every line.
    "$VENV/bin/python" -m pip install -qq --editable ".[$extra]" </dev/null || fail "pip could not install RouteMQ; its own words stand above."
    printf '%s\n' "$wanted" >"$stamp"
}
