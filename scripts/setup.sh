#!/usr/bin/env bash
# Installs what the host side needs: Debian packages (debian-packages.txt) and a virtual environment with
# pinned Python packages (constraints.txt). Quick and silent where everything is there.
# Usage: setup.sh [VENV [LIST...]]; each LIST names further Debian packages.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

mapfile -t wanted < <(sed 's/#.*//; s/[[:space:]]*$//; /^$/d' debian-packages.txt "${@:2}")
missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done

if ((${#missing[@]})); then
    fix="apt-get update && apt-get install --no-install-recommends -y ${missing[*]}"
    as_root=()
    if ((EUID != 0)); then
        as_root=(sudo)
        if ! command -v sudo >/dev/null; then
            echo "setup: Debian packages are missing, and there is no sudo; as root, run: $fix" >&2
            exit 1
        fi
    fi
    echo "setup: installing Debian packages: ${missing[*]}"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    as_root+=(env DEBIAN_FRONTEND=noninteractive) # sudo takes no variables along
    if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" apt-get install -qq -y --no-install-recommends \
        "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        echo "setup: apt-get could not install ${missing[*]}; fix what it says above, then run as root: $fix" >&2
        exit 1
    fi
fi

if [[ ! -x $venv/bin/python ]]; then
    echo "setup: making the virtual environment $venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "setup: $(python3 --version) is too old; Python 3.11 or newer is needed (Debian 12 has it)" >&2
        exit 1
    }
    rm -f "$venv/.installed"
    python3 -m venv "$venv"
fi
# What is installed is known by what was asked for: a checkout that only touches the files installs nothing again.
wants=$({ "$venv/bin/python" -VV && cat constraints.txt pyproject.toml; } | sha256sum)
if [[ $(cat "$venv/.installed" 2>/dev/null) != "$wants" ]]; then
    echo "setup: installing Python packages (pinned in constraints.txt)"
    # -qq: errors only; pip's warnings about the machine's own settings are no news of this project's
    pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt)
    # The build's own packages come first, so that they are pinned as well: an isolated build takes the newest.
    if ! { "${pip[@]}" hatchling editables && "${pip[@]}" --no-build-isolation -e '.[dev]'; }; then
        echo "setup: pip could not install the Python packages; fix what it says above, then run: make setup" >&2
        exit 1
    fi
    echo "$wants" >"$venv/.installed"
fi
