"""hostbuild.testing.plugin in projects of its own: cheap for those that do not use it, in words for all others.

No guest is booted here; tests/vm/test_testing_vm.py has those.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostbuild.formats.manifest import manifest_path
from tests.support.tinyguest import write_image

HEAVY = ("click", "rich", "qemu.qmp", "hostbuild.qemu.vm", "hostbuild.image.build", "asyncio")


WRONG_MARKS = [
    ("guest(share=True)", "the mark guest has no keyword 'share'; did you mean shared?"),
    ("guest(shared='module')", "the mark guest: shared is True or False, not 'module'"),
    ("guest('shared')", "the mark guest takes keywords only, not 'shared'"),
    ("guest(timeout='1m')", "the mark guest: timeout is a number of seconds, not '1m'"),
    ("machine('qq35')", "there is no machine 'qq35'; did you mean q35?"),
    ("machine(devices=[1])", "the mark machine: devices is a string or a list of strings, not [1]"),
    ("machine(devices='nvme,')", "device 'nvme,': a property without a name"),
    ("machine(root_ports=-1)", "the mark machine: root_ports is a number from 0 to 16, not -1"),
    ("machine(cpus=0)", "the mark machine: cpus is a number from 1 to 255, not 0"),
    ("image(modprobe='kmodd')", "the mark image: modprobe 'kmodd' is unknown; did you mean kmod?"),
    ("image(extras=['audio'])", "the mark image: extras 'audio' is unknown; did you mean audit?"),
    ("image(overlay='nonesuch')", "nonesuch does not exist"),
    ("kernel('vmlinuz-6')", "cannot read the kernel vmlinuz-6: there is no such file"),
    ("kernel(6)", "the mark kernel takes names, not 6"),
]


def run_tests(directory: Path, source: str, *words: str, status: int = 0, **environment: str) -> str:
    """Run a file of tests in a process of its own, hold its exit status, and give what pytest printed."""
    (directory / "test_it.py").write_text(source, encoding="utf-8")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words],
        capture_output=True,
        text=True,
        cwd=directory,
        env={**env, **environment},
        timeout=300,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_nothing_is_imported_for_those_who_do_not_use_it(tmp_path: Path) -> None:
    """pytest loads the plugin, and it loads none of hostbuild's libraries; nor is anything written to the cache."""
    source = f"""
import sys
def test_a():
    assert "hostbuild.testing.plugin" in sys.modules
    assert [name for name in {HEAVY} if name in sys.modules] == []
"""
    run_tests(tmp_path, source, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_other_projects_keep_their_fixtures(tmp_path: Path) -> None:
    """Fixtures called guest, machine and image in a project's own files count there."""
    names = "\n".join(
        f'@pytest.fixture\ndef {name}(): return "{name}"' for name in ("guest", "machine", "image")
    )
    source = f"import pytest\n{names}\ndef test_a(guest, machine, image): assert [guest, machine, image] == "
    run_tests(tmp_path, source + '["guest", "machine", "image"]\n')


@pytest.mark.slow
def test_fixtures_and_marks_are_listed(tmp_path: Path) -> None:
    """--fixtures and --markers tell of them, so that nobody needs the web."""
    fixtures = run_tests(tmp_path, "", "--fixtures", "-q")
    assert "guest -- " in fixtures
    assert "build_module [session scope] -- " in fixtures
    markers = run_tests(tmp_path, "", "--markers")
    assert "@pytest.mark.kernel(*specs): " in markers
    assert "@pytest.mark.guest(shared=False, " in markers


@pytest.mark.slow
def test_a_test_runs_for_each_kernel_and_machine(tmp_path: Path) -> None:
    """Several names in a mark, or on the command line, are so many tests, grouped by what they boot."""
    source = """
import pytest
@pytest.mark.kernel("deb:a", "deb:b")
@pytest.mark.machine("empty", "virtio")
def test_marked(guest): pass
def test_plain(guest): pass
"""
    out = run_tests(
        tmp_path, source, "--collect-only", "-q", "--guest-kernel", "deb:c", "--guest-kernel", "deb:d"
    )
    assert {line for line in out.splitlines() if line.startswith("test_it")} == {
        *(f"test_it.py::test_marked[{kernel}-{name}]" for name in ("empty", "virtio") for kernel in ("deb:a", "deb:b")),
        "test_it.py::test_plain[deb:c]",
        "test_it.py::test_plain[deb:d]",
    }  # fmt: skip


@pytest.mark.slow
def test_a_wrong_mark_is_said_in_words(tmp_path: Path) -> None:
    """What a mark has no use for fails its test by name, with what was probably meant, and without our inside."""
    tests = [
        f"@pytest.mark.{mark}\ndef test_{number}(guest): pass\n"
        for number, (mark, _) in enumerate(WRONG_MARKS)
    ]
    out = run_tests(tmp_path, "import pytest\n" + "".join(tests), status=1)
    for number, (mark, said) in enumerate(WRONG_MARKS):
        told = out.partition(f"_ ERROR at setup of test_{number} _")[2].partition("_ ERROR at")[0]
        assert said in told, mark
    assert "hostbuild/testing" not in out


@pytest.mark.slow
def test_an_image_that_nobody_can_talk_to(tmp_path: Path) -> None:
    """An image without the daemon or the agent is refused before it is booted, with where to get one."""
    image = write_image(tmp_path / "own.img", "#!/bin/busybox sh\n")
    assert not manifest_path(image).exists()
    source = "import pytest\ndef test_a(guest): pass\n"
    out = run_tests(tmp_path, source, "--guest-image", "own.img", status=1)
    assert "own.img is not an image for tests: it has no /usr/bin/modaliasd, the daemon" in out, out
    assert "hint: hostbuild make-image builds one" in out


@pytest.mark.slow
def test_a_fixture_that_gives_no_image(tmp_path: Path) -> None:
    """A project's own fixture `image` has to give a path."""
    source = "import pytest\n@pytest.fixture\ndef image(): return 7\ndef test_a(guest): pass\n"
    assert "the fixture image gives 7, not the path of an image" in run_tests(tmp_path, source, status=1)
