"""scripts/bare_settings.py: what a bare Debian gets of this machine's settings of apt and pip."""

import configparser
import subprocess
from pathlib import Path

from scripts.bare_settings import (
    apt_settings,
    available_memory,
    mirror_of,
    parse_pip,
    parse_targets,
    passed_on,
    paths_in,
    pip_conf,
    profile,
    renamed,
    served_from,
    sources_list,
)

TARGETS = """\
Debian|bookworm|main|http://mirror.example/debian/|Packages
Debian|bookworm|contrib|http://mirror.example/debian/|Packages
Debian|bookworm|main|http://mirror.example/debian/|Translations
Debian|bookworm-updates|main|http://mirror.example/debian/|Packages
Debian|bookworm-security|main|http://mirror.example/security/|Packages
Debian|bookworm-backports|main|http://mirror.example/debian/|Packages
Vendor|nodistro|main|http://vendor.example/|Packages
"""


def test_sources_are_the_machines_for_another_release() -> None:
    """Debian's archives with their pockets, the release's name replaced; no vendor's, no backports."""
    archives = parse_targets(TARGETS, "trixie")
    words = [line.split()[2:] for line in sources_list(archives).splitlines()]
    assert words == [
        ["http://mirror.example/debian/", "trixie", "main"],
        ["http://mirror.example/debian/", "trixie-updates", "main"],
        ["http://mirror.example/security/", "trixie-security", "main"],
    ]
    assert mirror_of(archives, "trixie") == "http://mirror.example/debian/"
    assert mirror_of(parse_targets("", "trixie"), "trixie") is None


def test_apt_reads_what_was_kept(tmp_path: Path) -> None:
    """Of apt's settings those that fetching needs are kept, in a form that apt itself reads."""
    dump = (
        'APT "";\nDPkg::Post-Invoke:: "touch /x";\nAcquire "";\nAcquire::http::Proxy "http://p.example:3128";\n'
        'Acquire::IndexTargets::deb::Packages::MetaKey "x";\nAcquire::http::Proxy-Auto-Detect "/usr/bin/x";\n'
    )
    path = tmp_path / "apt.conf"
    path.write_text(apt_settings(dump))
    assert path.read_text() == 'Acquire::http::Proxy "http://p.example:3128";\n'
    shown = subprocess.run(
        ["apt-config", "-c", path, "dump"], capture_output=True, check=True, text=True
    ).stdout
    assert 'Acquire::http::Proxy "http://p.example:3128";' in shown


def test_pips_settings_are_an_ini_file_again() -> None:
    """What `pip config list` prints, values of several lines too, is written so that configparser reads the same."""
    listing = ":env:.cert='/x'\nglobal.find-links='/opt/wheels\\n/opt/more'\nglobal.timeout='60'\ninstall.user='no'\n"
    values = parse_pip(listing)
    parser = configparser.RawConfigParser()
    parser.read_string(pip_conf(values))
    assert dict(parser["global"]) == {"find-links": "/opt/wheels\n/opt/more", "timeout": "60"}
    assert dict(parser["install"]) == {"user": "no"}


def test_the_environment_that_counts() -> None:
    """Proxies and pip's variables go on, whatever they hold; nothing else does."""
    kept = passed_on({"PIP_CERT": "a b'c", "https_proxy": "p", "NO_PROXY": "n", "HOME": "/h", "PIPX": "x"})
    assert kept == {"PIP_CERT": "a b'c", "https_proxy": "p", "NO_PROXY": "n"}
    shown = subprocess.run(
        ["sh"], check=True, input=f'{profile(kept)}echo "$PIP_CERT"', capture_output=True, text=True
    )
    assert shown.stdout == "a b'c\n"


def test_paths_are_found_and_renamed(tmp_path: Path) -> None:
    """Paths and file:// URLs that exist are found once, and another name is put for that path alone."""
    index = tmp_path / "index/simple"
    index.mkdir(parents=True)
    cert = tmp_path / "cert"
    cert.write_text("")
    texts = [f"extra-index-url = file://{index}\nhttps://x.example{cert}", f'"{cert}";', "/nowhere", "/"]
    assert list(paths_in(texts)) == [index, cert]
    assert served_from(index) == index.parent
    assert served_from(cert) == cert
    assert renamed(f"{cert};{cert}.d/x {cert}-2", {cert: "/new"}) == f"/new;{cert}.d/x {cert}-2"


def test_memory_is_read() -> None:
    """MemAvailable counts, in bytes."""
    assert available_memory("MemTotal:  16000 kB\nMemAvailable:    1024 kB\n") == 1 << 20
    assert available_memory("") == 0
