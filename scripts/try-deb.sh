#!/usr/bin/env bash
# Installs the Debian package that deb.sh has built, looks whether it works, and removes it without a trace.
# For a machine that may be changed: make test-bare COMMANDS=test-deb has one.
# Usage: try-deb.sh FILE.deb
set -euo pipefail
package=$(realpath "$1")
as_root=()
((EUID == 0)) || as_root=(sudo)
! command -v modaliasd >/dev/null || {
    echo "try-deb: there is a modaliasd already: $(command -v modaliasd)" >&2
    exit 1
}
say() { echo "try-deb: $*"; }
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null
trap '"${as_root[@]}" dpkg --purge modaliasd >/dev/null' EXIT
cd / # not among the sources
say "installed: $(modaliasd --version)"
modaliasd why --help | grep -q '^usage: modaliasd why'
# The machine's own modules, or in words that there are none, with the status for it.
status=0
said=$(modaliasd coldplug --dry-run 2>&1) || status=$?
((status == 0 || status == 111)) && [[ $said && $said != *Traceback* ]]
say "coldplug --dry-run ends with $status: $(head -n 1 <<<"$said")"
[[ -e /usr/share/man/man1/modaliasd.1.gz || -e /etc/dpkg/dpkg.cfg.d/docker ]]
for unit in modaliasd modaliasd-observe modaliasd-settle; do
    [[ -e /usr/lib/systemd/system/$unit.service ]]
    [[ ! -e /etc/systemd/system/sysinit.target.wants/$unit.service ]]
done
owned=$(dpkg -L modaliasd | grep -c '\.py$')
compiled=$(find /usr/share/modaliasd -name '*.pyc' | wc -l)
say "$owned modules, $compiled compiled"
((compiled > 0))
"${as_root[@]}" dpkg --purge modaliasd >/dev/null
trap - EXIT
[[ ! -e /usr/share/modaliasd && ! -e /usr/bin/modaliasd ]]
say "removed, and nothing is left"
