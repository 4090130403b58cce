"""A bare Debian: what `debootstrap --variant=minbase` makes, with make, git and sudo.

It is kept as a tar file in hostbuild's cache, to be unpacked wherever one is needed. It reaches packages as this
machine does (bare_settings.py), and has mounts and processes that end with the program that made them.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from hostbuild.debs import cache_directory
from hostbuild.errors import CommandError, WorldError
from hostbuild.run import run
from scripts import bare_settings as settings

_IN_THE_BASE = ("make", "git", "sudo")
# Mounts and processes that end with this program, even if it is killed.
OWN_WORLD = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")


def home_directory() -> Path:
    """Give the directory of the cache that bare Debians are kept in; made on first use."""
    home = cache_directory() / "bare"
    home.mkdir(exist_ok=True)
    return home


def require_namespaces() -> None:
    """Raise WorldError where this program may not make mounts and processes of its own."""
    try:
        run([*OWN_WORLD, "mount", "-t", "tmpfs", "none", "/mnt"], timeout=20)
    except CommandError as e:
        raise WorldError(
            f"a bare Debian needs mounts and processes of its own, which are refused here: {e}",
            hint="run it on a machine or in a container where root may mount (CAP_SYS_ADMIN)",
        ) from e


def require_base(home: Path, release: str, *, fresh: bool) -> Path:
    """Give the tar file of a bare Debian; made by debootstrap on first use, which takes a minute."""
    base = home / f"{release}.tar"
    if base.exists() and not fresh:
        return base
    archives = _archives(release)
    mirror = settings.mirror_of(archives, release)
    if mirror is None:
        raise WorldError(
            "apt has no Debian archive among its sources, so that there is nowhere to take a bare Debian from",
            hint="add one to /etc/apt/sources.list.d and run: apt-get update",
        )
    include = [*_IN_THE_BASE, *(["ca-certificates"] if mirror.startswith("https:") else [])]
    sys.stderr.write(f"making a bare {release} (kept in {base})\n")
    directory, half = empty(home / "run"), base.with_suffix(".half")
    words = ["debootstrap", "--variant=minbase", f"--include={','.join(include)}"]
    words += [
        f"--cache-dir={debs_directory(home)}",
        f"--keyring={settings.KEYRING}",
        release,
        str(directory),
        mirror,
    ]
    excluded = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./dev/*"]
    try:
        run([*OWN_WORLD, *words], timeout=1800, env=_with_apts_proxy())
        run(["tar", "-C", directory, "--numeric-owner", *excluded, "-cf", half, "."], timeout=600)
        half.rename(base)
    except CommandError as e:
        log = directory / "debootstrap/debootstrap.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:]) if log.exists() else ""
        raise WorldError(f"debootstrap could not make a bare {release}: {e}\n{tail}") from e
    finally:
        half.unlink(missing_ok=True)
        remove(directory)
    return base


def _with_apts_proxy() -> dict[str, str]:
    """Return the environment for debootstrap, which does not ask apt for its proxy."""
    said = run(["apt-config", "shell", "proxy", "Acquire::http::Proxy"], timeout=20).stdout.decode().strip()
    proxy = said.removeprefix("proxy='").removesuffix("'")
    return {**os.environ, **({"http_proxy": proxy} if proxy else {})}


def copy_settings(root: Path, release: str) -> list[Path]:
    """Give a Debian this machine's network, and apt's and pip's settings; gives the directories that these name."""
    for name in ("hosts", "resolv.conf", "hostname"):
        if Path("/etc", name).exists():
            (root / "etc" / name).write_bytes(Path("/etc", name).read_bytes())
    apt = settings.apt_settings(run(["apt-config", "dump"], timeout=20).stdout.decode())
    listing = run([sys.executable, "-m", "pip", "config", "list"], timeout=60).stdout.decode()
    pip = settings.pip_conf(settings.parse_pip(listing))
    environment = settings.passed_on(os.environ)
    shown: set[Path] = set()
    names: dict[Path, str] = {}
    for path in settings.paths_in([apt, pip, *environment.values()]):
        if path.is_dir():
            shown.add(settings.served_from(path))
        else:  # not in its own place, where a package may put a file of its own: a machine's certificates
            names[path] = f"/usr/local/share/machine/{len(names)}-{path.name}"
            inside = root / names[path].removeprefix("/")
            inside.parent.mkdir(exist_ok=True)
            shutil.copy(path, inside)
            inside.chmod(0o644)
    for directory in shown:
        (root / directory.relative_to("/")).mkdir(parents=True, exist_ok=True)
    exports = {name: settings.renamed(value, names) for name, value in environment.items()}
    (root / "etc/apt/sources.list").write_text(settings.sources_list(_archives(release)))
    (root / "etc/apt/apt.conf.d/00machine").write_text(settings.renamed(apt, names))
    (root / "etc/pip.conf").write_text(settings.renamed(pip, names))
    (root / "etc/profile.d/machine.sh").write_text(settings.profile(exports))
    for name in ("auth.conf", "auth.conf.d"):
        if Path("/etc/apt", name).exists():
            run(["cp", "-a", Path("/etc/apt", name), root / "etc/apt"], timeout=20)
    return sorted(shown)


def _archives(release: str) -> set[str]:
    words = ["apt-get", "indextargets", "--format", settings.TARGET_FORMAT]
    return settings.parse_targets(run(words, timeout=60).stdout.decode(), release)


def debs_directory(home: Path) -> Path:
    """Give the directory of the .deb files that were fetched; made on first use."""
    directory = home / "debs"
    directory.mkdir(exist_ok=True)
    return directory


def empty(directory: Path) -> Path:
    """Make an empty directory, whatever was there."""
    remove(directory)  # a run that was killed left it
    directory.mkdir(mode=0o755)
    return directory


def remove(directory: Path) -> None:
    """Remove a directory that processes may have worked in a moment ago."""
    for _ in range(50):  # what was killed a moment ago may still be writing
        try:
            shutil.rmtree(directory)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.2)
    shutil.rmtree(directory)
