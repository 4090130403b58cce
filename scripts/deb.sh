#!/usr/bin/env bash
# Builds the Debian package of the daemon for full systems: dist/modaliasd_VERSION_all.deb. Nothing is installed.
# The same sources give the same bytes: the times in it are those of the release in CHANGELOG.md.
# Usage: deb.sh
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' daemon/modaliasd/__init__.py)
released=$(sed -n "s/^## \[$version\] - //p" CHANGELOG.md)
[[ $version && $released ]] || {
    echo "deb: CHANGELOG.md has no line '## [$version] - DATE' for the version in daemon/modaliasd/__init__.py" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/modaliasd-$version
mkdir -p "$tree/daemon"
cp -r packaging docs LICENSE SECURITY.md "$tree"
cp -r daemon/modaliasd daemon/services "$tree/daemon"
cp -r packaging/debian "$tree/debian"
find "$tree" -name __pycache__ -prune -exec rm -rf {} +
cat >"$tree/debian/changelog" <<CHANGELOG
modaliasd ($version) unstable; urgency=medium

  * Release $version: see CHANGELOG.md of the project.

 -- The modaliasd authors <modaliasd@localhost>  $(LC_ALL=C date -u -d "$released" -R)
CHANGELOG
if ! (cd "$tree" && dpkg-buildpackage -us -uc -b) >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    echo "deb: dpkg-buildpackage failed, as it says above" >&2
    exit 1
fi
mkdir -p dist
cp "$work/modaliasd_${version}_all.deb" dist/
echo "dist/modaliasd_${version}_all.deb"
