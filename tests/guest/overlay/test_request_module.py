"""rootfs-overlay's request-module and frozen-modprobe: what the kernel calls for a module, with the name that it gives.

The name comes from the kernel (request_module), which may have it from anywhere: a file system's name in mount(2), a
protocol, a device's own words. The scripts run here as they are in the image, under busybox's sh, with only the paths
of the programs that they start replaced.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modaliasd.core.loading.cause import Cause
from modaliasd.linux.named.requests import find_request
from tests.support.fuzzing import examples
from tests.support.places import OVERLAY

SCRIPTS = OVERLAY / "usr/lib/micro"
MODULE = "/lib/modules/6.1.0-test/kernel/fs/xfs/xfs.ko"  # what every name stands for here
ODD = [
    "$(touch ran)",
    "`touch ran`",
    "; touch ran",
    "a;touch ran;",
    "| touch ran",
    "&& touch ran",
    "' ; touch ran ; '",
    '" ; touch ran ; "',
    "x\ntouch ran\n",
    "> ran",
    "${IFS}touch${IFS}ran",
    "-r",
    "-C/nowhere",
    "--help",
    "--",
    "*",
    "[a-z]*",
    "~",
    "../../ran",
    "a  b",
    "\\",
    "\t",
    "",
    "fs-xfs",
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the scripts, and programs in place of the real ones that write down what they are given."""
    return make_place(tmp_path_factory.mktemp("micro"), "busybox")


@pytest.fixture(scope="module")
def with_kmod(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in an image with kmod's modprobe."""
    return make_place(tmp_path_factory.mktemp("kmod"), "kmod")


def make_place(folder: Path, program: str) -> Path:
    """Put the scripts into a directory; modprobe is a link to `program`, as in an image."""
    write = '#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done >>{log}\n{more}\n'
    for name, more in {program: f'[ "$1" != -qD ] || echo "insmod {MODULE}"', "modaliasd": ""}.items():
        stub = folder / name
        log = folder / f"{name.replace(program, 'modprobe')}.log"
        stub.write_text(write.format(log=log, more=more))
        stub.chmod(0o755)
    (folder / "modprobe").symlink_to(program)
    for name in ("request-module", "frozen-modprobe"):
        text = (SCRIPTS / name).read_text()
        assert "modprobe" in text
        text = text.replace("/sbin/modprobe", str(folder / "modprobe"))
        text = text.replace("/usr/lib/micro/request-module", str(folder / "request-module"))
        text = text.replace("/run/modaliasd", str(folder / "run")).replace(
            "/proc/[0-9]", f"{folder}/proc/[0-9]"
        )
        text = text.replace("/proc/modules", str(folder / "modules"))  # not everybody's kernel has it
        text = text.replace("modaliasd may-load", f"{folder / 'modaliasd'} may-load")
        text = text.replace("#!/bin/sh", "#!/usr/bin/env -S busybox sh")
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "modules").write_text(
        "xfs 1 0 - Loading 0x0\n"
    )  # so that the script looks whether it is still coming
    return folder


def call(place: Path, script: str, name: str) -> tuple[list[bytes], list[bytes], set[str]]:
    """What modprobe and modaliasd were given when the kernel asked for the name, and the files that came of it."""
    logs = [place / "modprobe.log", place / "modaliasd.log"]
    for log in logs:
        log.write_bytes(b"")
    before = {path.name for path in place.iterdir()}
    # kernel/kmod.c, call_modprobe: modprobe_path, "-q", "--", module_name
    done = subprocess.run(
        [place / script, "-q", "--", name], cwd=place, capture_output=True, timeout=60, check=False
    )
    assert done.stderr == b""
    given = [log.read_bytes().split(b"\0")[:-1] for log in logs]
    return given[0], given[1], {path.name for path in place.iterdir()} - before


def asked_for(name: str) -> list[bytes]:
    """What modprobe is given for the name: first to say what it stands for, then to insert just that."""
    return [b"-qD", b"--", name.encode(), b"-q", b"-a", b"--", b"xfs"]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_reaches_modprobe_as_one_word(place: Path, name: str) -> None:
    """Whatever the name holds, modprobe gets it whole behind `--`, and nothing else runs."""
    given, _, files = call(place, "request-module", name)
    assert given == asked_for(name)
    assert files == set()


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_reaches_the_policy_as_one_word(place: Path, name: str) -> None:
    """When frozen the policy is asked about the whole name first; what would be an option is refused outright."""
    given, asked, files = call(place, "frozen-modprobe", name)
    assert files == set()
    if name.startswith("-"):
        assert (given, asked) == ([], [])
        return
    assert asked == [b"may-load", name.encode()]
    assert given == asked_for(name)


@pytest.mark.parametrize("name", ODD)
def test_kmods_modprobe_gets_the_word_itself(with_kmod: Path, name: str) -> None:
    """It is asked what the word stands for, for the ledger, and then does with the word what its configuration says."""
    given, _, files = call(with_kmod, "request-module", name)
    assert given == [b"-qD", b"--", name.encode(), b"-q", b"--", name.encode()]
    assert files == set()


@settings(
    max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40))
def test_no_name_makes_anything_else_happen(place: Path, name: str) -> None:
    """The same for names of any characters."""
    given, _, files = call(place, "request-module", name)
    assert given == asked_for(name)
    assert files == set()


@pytest.mark.parametrize("whose", ["place", "with_kmod"])
def test_who_waits_is_written_down(whose: str, request: pytest.FixtureRequest) -> None:
    """The word, the modules and the tasks that sleep until the helper has ended; nothing for a module that is in."""
    place: Path = request.getfixturevalue(whose)
    (place / "run").mkdir()
    for task, wait, name in (
        (7, "call_usermodehelper_exec", "lose tup"),
        (8, "do_wait", "init"),
        (9, "0", "x"),
    ):
        folder = place / f"proc/{task}/task/{task}"
        folder.mkdir(parents=True)
        (folder / "wchan").write_text(wait)
        (folder / "comm").write_text(f"{name}\n")
    try:
        call(place, "request-module", "char-major-10-237")
        call(place, "request-module", "two\nlines")
        assert (place / "run/requests").read_text() == "char-major-10-237\txfs\tlose tup (pid 7)\n"
        cause = find_request("xfs", str(place / "run/requests"))
        assert cause == Cause(request="the kernel, for lose tup (pid 7)", alias="char-major-10-237")
    finally:
        shutil.rmtree(place / "run")
        shutil.rmtree(place / "proc")


def test_the_last_request_counts(tmp_path: Path) -> None:
    """What a module needs came for its sake; of several requests the last counts; what is no request is passed over."""
    file = tmp_path / "requests"
    assert find_request("tun", str(file)) is None
    file.write_text("a\tb-c tun\tmodprobe (pid 1)\nnet-pf-9\tx tun\t\nnonsense\n\t\n")
    assert find_request("tun", str(file)) == Cause(
        request="the kernel, for a task that had gone", alias="net-pf-9"
    )
    assert find_request("b_c", str(file)) == Cause(module="tun")
    assert find_request("other", str(file)) is None
    file.write_text("x" * 70000)
    assert find_request("tun", str(file)) is None
    assert file.read_bytes() == b""
