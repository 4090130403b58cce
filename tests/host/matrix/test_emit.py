"""Cells as job files for LAVA and environments for labgrid: what is in them, and what the lines for the console do."""

import hashlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.arch import Arch
from hostbuild.errors import InputError, UsageError
from hostbuild.main import status_of
from hostbuild.matrix.asked.spec import parse_spec
from hostbuild.matrix.emit.laid import Lab, check_url, lay, require_empty
from hostbuild.matrix.emit.wiring import PROMPT, quoted, wiring_of
from hostbuild.qemu.accel import Accel
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import Machine, cpu_option, hardware_argv, read_machine
from hostbuild.qemu.session import Session
from tests.support.programs import require_program

if TYPE_CHECKING:
    from hostbuild.qemu.memory import MemoryEstimate

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
pytestmark = pytest.mark.net

SCRIPT = "echo one\n" + "# " + "x" * 2000 + '\necho "two\'s"; exit 3\n'
TEXT = """
kernels = ["a"]
machines = ["virtio", "q35", "numa", "board", "micro.toml"]
accel = "tcg"
append = "quiet who='x y'"
timeout = 300

[tests.boot]
[tests.says]
command = ["sh", "-c", "echo \\"it's\\"; exit 3"]
[tests.script]
script = "s.sh"
[tests.suite]
pytest = "test_it.py"
[tests.lost]

[[expect]]
modules = ["virtio-net"]
bound = ["virtio_net", "0000:00:02.0/virtio1=virtio_blk"]
[[expect]]
test = ["says", "script"]
status = 3
[[expect]]
test = "lost"
status = 7
"""
_LAVA = "HOSTBUILD_TEST_LAVA"
# LAVA's own check of a job.
_VALIDATE = """
import sys, yaml
from lava_common.schemas import validate
for path in sys.argv[1:]:
    validate(yaml.safe_load(open(path)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the matrix is, with the files that it names."""
    (tmp_path / "s.sh").write_text(SCRIPT)
    (tmp_path / "test_it.py").write_text("def test_it(guest): pass\n")
    (tmp_path / "micro.toml").write_text('machine = "microvm"\n')
    return tmp_path


def laid(
    lab: Lab, plan_of: Any, folder: Path, url: str | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What is written: the content of each file by its name, and the notes."""
    spec = parse_spec(TEXT, folder / "m.toml")
    done = lay(lab, spec, plan_of(TEXT), folder / "out", url)
    assert sorted(done.files) == sorted((folder / "out").glob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text()) for path in done.files}, done.notes


def steps_of(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a job's test."""
    [test] = [action["test"] for action in job["actions"] if "test" in action]
    [script] = test["interactive"]
    assert script["prompts"] == [PROMPT]
    steps: list[dict[str, Any]] = script["script"]
    return steps


def decide(step: dict[str, Any], output: str) -> str:
    """What LAVA makes of a line: the first match of what it waits for, failures before successes at one place."""
    waited = [(one["message"], kind) for kind in ("failures", "successes") for one in step.get(kind, ())]
    found = [(match.start(), kind) for text, kind in waited if (match := re.search(text, output))]
    return min(found, key=lambda one: one[0], default=(0, "prompt"))[1]


def test_jobs_for_lava(plan_of: Any, folder: Path) -> None:
    """A job for each cell that LAVA can have, with files by URL and content; the rest is named, with the reason."""
    jobs, notes = laid(Lab.LAVA, plan_of, folder, "https://files.example.org/guests/")
    assert sorted(jobs) == sorted(
        f"a-{machine}-default-{test}"
        for machine in ("virtio", "q35", "numa")
        for test in ("boot", "says", "script")
    )
    told = "\n".join(notes)
    for words in ("TPM", "microvm", "pytest", "has no status on the console"):
        assert words in told
    job = jobs["a-virtio-default-says"]
    assert job["job_name"] == "a | virtio | default | says"
    images = job["actions"][0]["deploy"]["images"]
    for image in images.values():
        path = folder / "out" / image["url"].removeprefix("https://files.example.org/guests/")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == image["sha256sum"]
    _, _, _, words = shlex.split(images["kernel"]["image_arg"])
    assert words.startswith("console=ttyS0 panic=-1 ")
    assert "quiet who='x y'" in words
    assert "channel" not in words
    context = job["context"]
    assert (context["arch"], context["no_kvm"]) == ("amd64", True)
    extra = [word for one in context["extra_options"] for word in shlex.split(one)]
    virtio = hardware_argv(read_machine("virtio"))
    assert extra[-len(virtio) :] == virtio
    assert jobs["a-numa-default-boot"]["context"]["memory"] == "1024,slots=8,maxmem=4096M"


def test_lava_takes_the_jobs(plan_of: Any, folder: Path) -> None:
    """By LAVA's own schema: of an installed lava-common, or of one unpacked with python3-voluptuous into _LAVA."""
    place = os.environ.get(_LAVA)
    python, env = "/usr/bin/python3", dict(os.environ)
    if place is not None:
        env["PYTHONPATH"] = f"{place}/usr/lib/python3/dist-packages"
        python = sys.executable
    if not os.access(python, os.X_OK):
        pytest.skip("Debian's python3 is not installed")
    asked = [python, "-c", "import lava_common.schemas, yaml"]
    if subprocess.run(asked, env=env, capture_output=True, check=False).returncode:
        pytest.skip(f"Debian's lava-common is not installed, and {_LAVA} names no folder with it")
    laid(Lab.LAVA, plan_of, folder)
    files = sorted(map(str, (folder / "out").glob("*.yaml")))
    argv = [python, "-c", _VALIDATE, *files]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    broken = folder / "broken.yaml"
    broken.write_text(Path(files[0]).read_text().replace("method: qemu", "method: quemu"))
    argv[-len(files) :] = [str(broken)]
    assert subprocess.run(argv, env=env, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_what_the_lines_do(plan_of: Any, folder: Path) -> None:
    """Typed into busybox's shell, a script of any length comes out, and statuses decide as they should."""
    shell = [require_program("busybox"), "sh"]
    jobs, _ = laid(Lab.LAVA, plan_of, folder)
    steps = steps_of(jobs["a-q35-default-script"])
    assert [step["name"] for step in steps if "name" in step] == [
        "settled", "module-virtio-net", "bound-virtio_net", "bound-0000-00-02.0-virtio1-virtio_blk", "script"
    ]  # fmt: skip
    assert all(len(step["command"]) < 1000 for step in steps)
    typed = "\n".join(step["command"] for step in steps[4:]).replace("/run/", f"{folder}/")
    done = subprocess.run(shell, input=typed, capture_output=True, text=True, check=True)
    assert (folder / "matrix-test").read_text() == SCRIPT
    assert done.stdout.startswith("one\ntwo's\n")
    assert decide(steps[-1], steps[-1]["command"] + "\r\n" + done.stdout) == "successes"
    says = steps_of(jobs["a-q35-default-says"])[-1]
    assert decide(says, says["command"]) == "prompt"  # its echo decides nothing
    for line, wanted in (
        (says["command"], "successes"),
        (says["command"].replace("exit 3", "exit 13"), "failures"),
    ):
        done = subprocess.run([*shell, "-c", line], capture_output=True, text=True, check=True)
        assert decide(says, done.stdout) == wanted


def test_a_script_that_is_too_long(plan_of: Any, folder: Path) -> None:
    """It is refused, with what to do instead."""
    (folder / "s.sh").write_text("#" * 50_000)
    with pytest.raises(InputError, match="50000 bytes") as caught:
        laid(Lab.LAVA, plan_of, folder)
    assert "overlay" in caught.value.hint


def test_environments_for_labgrid(plan_of: Any, folder: Path) -> None:
    """One for each guest: the machine's hardware as it is here, and files that are there."""
    found, _ = laid(Lab.LABGRID, plan_of, folder)
    assert sorted(found) == ["a-numa-default", "a-q35-default", "a-virtio-default"]
    environment = found["a-q35-default"]
    driver = environment["targets"]["main"]["drivers"]["QEMUDriver"]
    extra = shlex.split(driver["extra_args"])
    hardware = hardware_argv(read_machine("q35"))
    start = extra.index(hardware[0])
    assert extra[start : start + len(hardware)] == hardware
    assert Path(extra[extra.index("-initrd") + 1]).is_file()
    assert (folder / "out" / environment["images"][driver["kernel"]]).is_file()
    assert environment["tools"][driver["qemu_bin"]] == "qemu-system-x86_64"
    assert (driver["machine"], driver["cpu"]) == ("q35", cpu_option(read_machine("q35"), "tcg"))
    assert re.fullmatch(r"\d+M", driver["memory"])
    assert environment["targets"]["main"]["drivers"]["ShellDriver"]["login_timeout"] == 300
    assert driver["boot_args"].startswith("console=ttyS0 panic=-1 ")


@pytest.mark.parametrize(("arch", "accel", "cpu"), [
    (Arch.AMD64, Accel.KVM, "max"),
    (Arch.ARM64, Accel.KVM, "host"),
    (Arch.ARM64, Accel.TCG, "cortex-a57"),
])  # fmt: skip
def test_the_cpu_is_that_of_the_accelerator(arch: Arch, accel: Accel, cpu: str) -> None:
    """A lab's QEMU gets the one that ours has: KVM runs no cortex-a57."""
    boot = Boot(Path("vmlinuz"), Path("image"), accel=accel)
    session = Session(Machine(arch=arch), boot, {}, cast("MemoryEstimate", None))
    assert wiring_of(session, emulated=accel is Accel.TCG).cpu == cpu


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_words_come_out_as_they_went_in(word: str) -> None:
    """Whatever a machine file names, a shell's splitting gives it back."""
    assert shlex.split(quoted(word)) == [word]


def test_where_and_by_which_address(folder: Path) -> None:
    """A folder that has files is left alone; what is no address, or for nobody, is refused before anything is made."""
    with pytest.raises(UsageError, match="has other files"):
        require_empty(folder)
    assert check_url("https://host/x/") == "https://host/x"
    for url in ("host/x", "gopher://x", "https://a b"):
        with pytest.raises(UsageError, match="not an address"):
            check_url(url)
    matrix = folder / "m.toml"
    matrix.write_text(TEXT)
    assert status_of(["matrix", str(matrix), "--url", "https://x"]) == 100
    assert status_of(["matrix", str(matrix), "--emit", "lava", "-o", str(folder)]) == 100
    assert (
        status_of(["matrix", str(matrix), "--emit", "lava", "--url", "x", "-o", str(folder / "new")]) == 100
    )
    assert not (folder / "new").exists()
