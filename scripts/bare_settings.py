"""How a bare Debian reaches packages: as this machine does. No host is named here, and none is needed.

apt's sources come from `apt-get indextargets` with another release's name in them, its settings from `apt-config
dump`; pip's come from `pip config list` and the environment. What these name by path (a certificate, a directory of
wheels) has to be in the bare Debian too.
"""

import ast
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# what `apt-get indextargets --format` is asked for
TARGET_FORMAT = "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)|$(CREATED_BY)"

_PASSED_ON = re.compile(r"(PIP_\w+|(https?|ftp|all|no)_proxy)\Z", re.IGNORECASE)


def parse_targets(text: str, release: str) -> set[str]:
    """Give Debian's archives as `URI SUITE`, the suites being those of `release`.

    text: lines in TARGET_FORMAT. Other vendors' archives, other components than main, and backports are left out.
    """
    archives = set()
    for line in text.splitlines():
        origin, codename, component, uri, made_by = line.split("|")
        _, dash, pocket = codename.partition("-")
        if (origin, component, made_by) == ("Debian", "main", "Packages") and not pocket.startswith(
            "backports"
        ):
            archives.add(f"{uri} {release}{dash}{pocket}")
    return archives


def sources_list(archives: Iterable[str]) -> str:
    """Write sources.list (man sources.list)."""
    return "".join(f"deb [signed-by={KEYRING}] {where} main\n" for where in sorted(archives))


def mirror_of(archives: Iterable[str], release: str) -> str | None:
    """Find the URI that has the release itself, not its updates."""
    return next((where.split()[0] for where in sorted(archives) if where.split()[1] == release), None)


def apt_settings(dump: str) -> str:
    """Of `apt-config dump`, what says how files are fetched: proxies, certificates, checks."""
    wanted = re.compile(r"Acquire::(?!IndexTargets|Changelogs)(?!.*Proxy-Auto-Detect)")
    return "".join(f"{line}\n" for line in dump.splitlines() if wanted.match(line))


def parse_pip(listing: str) -> dict[str, str]:
    """Parse `pip config list`: lines of SECTION.KEY='VALUE'. The environment's (":env:") are left out."""
    pairs = (line.partition("=") for line in listing.splitlines() if not line.startswith(":env:"))
    return {key: str(ast.literal_eval(value)) for key, _, value in pairs}


def pip_conf(values: Mapping[str, str]) -> str:
    """Write pip.conf; a key's first word is its section, a value's further lines are indented."""
    sections: dict[str, list[str]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        text = value.strip().replace("\n", "\n    ")
        sections.setdefault(section, []).append(f"{name} = {text}\n")
    return "".join(f"[{section}]\n{''.join(lines)}" for section, lines in sections.items())


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Of the environment, what pip and downloads look at."""
    return {name: value for name, value in environment.items() if _PASSED_ON.match(name)}


def profile(environment: Mapping[str, str]) -> str:
    """Write a file for /etc/profile.d."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def paths_in(texts: Iterable[str]) -> Iterator[Path]:
    """Find the files and directories of this machine that settings name, as paths or as file:// URLs; longest first."""
    words = re.split(r"[\s,;\"']+", " ".join(texts))
    paths = {Path(word.removeprefix("file://")) for word in words if word.startswith(("/", "file:///"))}
    for path in sorted(paths - {Path("/")}, key=lambda path: (-len(str(path)), str(path))):
        if os.access(path, os.R_OK):
            yield path


def served_from(directory: Path) -> Path:
    """Give the directory that holds all of a package index: its pages link to files that lie beside them (PEP 503)."""
    return directory.parent if directory.name == "simple" and len(directory.parts) > 2 else directory


def renamed(text: str, names: Mapping[Path, str]) -> str:
    """Put other paths in a setting's text."""
    for path, name in names.items():
        text = re.sub(rf"(?<![\w./-]){re.escape(str(path))}(?![\w/-]|\.\w)", name, text)
    return text


def available_memory(meminfo: str) -> int:
    """Bytes that programs may still take, by the text of /proc/meminfo; 0 where it does not say."""
    found = re.search(r"^MemAvailable: +(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else 0
