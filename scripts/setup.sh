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
    mend="apt-get update && apt-get install --no-install-recommends -y ${missing[*]}"
    as_root=()
    if ((EUID != 0)); then
        as_root=(sudo)
        if ! command -v sudo >/dev/null; then
            echo "setup: Debian packages are missing: ${missing[*]}; as root, run: $mend" >&2
            exit 1
        fi
    fi
    echo "setup: installing Debian packages: ${missing[*]}"
    log=$(mktemp)
    if ! { "${as_root[@]}" apt-get update -qq && DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install \
        -qq -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        echo "setup: apt-get could not install ${missing[*]}; mend its complaint above, then run: $mend" >&2
        exit 1
    fi
    rm -f "$log"
fi

if [[ ! -x $venv/bin/python ]]; then
    echo "setup: making the virtual environment $venv"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "setup: $(python3 --version) is too old; Python 3.11 or newer is needed (Debian 12 has it)" >&2
        exit 1
    }
    python3 -m venv "$venv"
fi
echo "setup: installing Python packages (pinned in constraints.txt)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
