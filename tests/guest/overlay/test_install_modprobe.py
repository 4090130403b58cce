"""rootfs-overlay/usr/lib/micro/install-modprobe: kmod's options, as busybox's modprobe has them."""

import subprocess
from pathlib import Path

import pytest

from tests.support.places import OVERLAY

SCRIPT = OVERLAY / "usr/lib/micro/install-modprobe"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The script, with a modprobe beside it that writes down what it is given."""
    stub = tmp_path / "busybox"
    stub.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >{tmp_path}/given\n')
    stub.chmod(0o755)
    (tmp_path / "real").symlink_to("busybox")
    text = SCRIPT.read_text().replace("/sbin/modprobe", str(tmp_path / "real"))
    (tmp_path / "modprobe").write_text(text.replace("#!/bin/sh", "#!/usr/bin/env -S busybox sh"))
    (tmp_path / "modprobe").chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ("--ignore-install virtio_rng a=1", "--|virtio_rng|a=1|"),
        ("-i --quiet x", "-q|--|x|"),
        ("-qi --first-time x", "-q|--|x|"),
        ("x --ignore-install a=b", "--|x|a=b|"),
        ("-r --ignore-remove x", "-r|--|x|"),
        ("-b --all x y", "-b|-a|--|x|y|"),
        ("-i -- -x y", "--|-x|y|"),
        ("--use-blacklist --verbose --show-depends x", "-b|-v|-D|--|x|"),
    ],
)
def test_options(place: Path, arguments: str, given: str) -> None:
    """Long options become short ones; that install lines are to be ignored goes without saying."""
    subprocess.run([place / "modprobe", *arguments.split()], check=True, timeout=20)
    assert (place / "given").read_text() == given


@pytest.mark.parametrize("option", ["--config", "-C", "--force", "-fq"])
def test_what_it_lacks_is_named(place: Path, option: str) -> None:
    """An option that busybox's modprobe has nothing for ends the command, with the option's name."""
    done = subprocess.run(
        [place / "modprobe", option, "x"], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no {option[:2] if option[1] != '-' else option}" in done.stderr
    assert not (place / "given").exists()


def test_kmods_gets_everything(place: Path) -> None:
    """Where the image has kmod's modprobe nothing is changed."""
    (place / "kmod").write_text((place / "busybox").read_text())
    (place / "kmod").chmod(0o755)
    (place / "real").unlink()
    (place / "real").symlink_to("kmod")
    subprocess.run([place / "modprobe", "--config", "a", "-i", "x"], check=True, timeout=20)
    assert (place / "given").read_text() == "--config|a|-i|x|"
