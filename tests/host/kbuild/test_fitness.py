"""hostbuild.kbuild.fitness: which kernels are fit, and that the shipped fragment makes one fit."""

import gzip
import json
import lzma
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.formats import kconfig
from hostbuild.kbuild.configfile import read_config_of
from hostbuild.kbuild.configure import guest_fragment
from hostbuild.kbuild.fitness import REQUIREMENTS, Grade, check, compressed_modules, is_fit
from hostbuild.kbuild.toolchain import PACKAGES
from hostbuild.kernels.kernel import Kernel
from hostbuild.main import status_of
from tests.support.places import PROJECT


def config_of(wishes: Iterable[kconfig.Wish]) -> dict[str, str]:
    """A configuration that has just what is wished for."""
    return {wish.option: wish.value for wish in wishes}


@pytest.mark.parametrize("arch", Arch, ids=str)
def test_the_guest_fragment_meets_every_requirement(arch: Arch) -> None:
    """A kernel that has what the fragments say is fit, and lacks nothing but what has no fix."""
    always = {} if arch is Arch.AMD64 else {"OF": "y"}  # Kconfig gives it to all of these
    findings = check(config_of(guest_fragment(arch)) | always, arch)
    assert is_fit(findings)
    assert [
        finding.requirement.wants for finding in findings if not finding.met and finding.requirement.fix
    ] == []


@pytest.mark.parametrize("arch", Arch, ids=str)
def test_every_line_of_the_fragment_has_its_reason(arch: Arch) -> None:
    """No option is wanted without a word on why."""
    assert [wish.option for wish in guest_fragment(arch) if not wish.reason] == []


def test_what_counts_on_one_architecture_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command asks for the console and the UARTs of the configuration's own machine."""
    path = tmp_path / "config"
    path.write_text("# Linux/arm64 6.1.0 Kernel Configuration\nCONFIG_SERIAL_8250_CONSOLE=y\n")
    status_of(["kernel", "check", str(path)])
    said = capsys.readouterr().out
    assert "limit  CONFIG_SERIAL_AMBA_PL011_CONSOLE=y: console=ttyAMA0" in said
    assert "CONFIG_SERIAL_8250_PCI=y: the ledger and the agent" in said
    assert "DMI" not in said
    path.write_text("# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_SERIAL_8250_CONSOLE=y\n")
    status_of(["kernel", "check", str(path)])
    said = capsys.readouterr().out
    assert "SERIAL" not in said
    assert "CONFIG_DMI=y" in said


def test_nothing_is_unfit() -> None:
    """The empty configuration, which is tinyconfig's as far as guests are concerned, is not fit."""
    findings = check({})
    assert not is_fit(findings)
    unfit = {f.requirement.wants for f in findings if not f.met and f.requirement.grade is Grade.UNFIT}
    assert {"CONFIG_BLK_DEV_INITRD=y", "CONFIG_MODULES=y", "CONFIG_SYSFS=y", "CONFIG_NET=y"} <= unfit


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.wants)
def test_a_mend_mends(requirement: object) -> None:
    """Where a fix is proposed, following it alone meets the requirement."""
    assert requirement in REQUIREMENTS
    [wanted] = [r for r in REQUIREMENTS if r is requirement]
    if wanted.fix:
        assert wanted.met(config_of(map(kconfig.parse_wish, wanted.fix)))
    else:
        assert wanted.grade is Grade.NOTE


@pytest.mark.slow
def test_debians_kernel_is_fit(debian_kernel: Kernel) -> None:
    """Debian's kernel, whose configuration lies beside its vmlinuz, is fit."""
    text, origin = read_config_of(str(debian_kernel.vmlinuz))
    assert read_config_of("deb:linux-image-amd64") == (
        text,
        f"config-{debian_kernel.version} of {debian_kernel.origin}",
    )
    assert origin == str(debian_kernel.config)
    assert is_fit(check(kconfig.parse_config(text)))


@pytest.mark.parametrize(
    ("config", "packing"),
    [
        ({"MODULE_COMPRESS_NONE": "y"}, ""),
        ({"MODULE_COMPRESS_XZ": "y"}, "xz"),
        ({"MODULE_COMPRESS": "y", "MODULE_COMPRESS_ZSTD": "y", "MODULE_COMPRESS_ALL": "y"}, "zstd"),
        ({"MODULE_COMPRESS": "y", "MODULE_COMPRESS_ZSTD": "y", "MODULE_COMPRESS_ALL": "n"}, ""),
        ({"MODULE_COMPRESS": "n"}, ""),
    ],
    ids=["6.1-none", "6.1-xz", "6.12-zstd", "6.12-readable-only", "6.12-none"],
)
def test_how_modules_are_installed(config: dict[str, str], packing: str) -> None:
    """Both layouts of the MODULE_COMPRESS options are understood: until 6.11, and since 6.12."""
    assert compressed_modules(config) == packing


def test_forced_signatures_are_found() -> None:
    """A kernel that refuses unsigned modules is named as limited, not as unfit."""
    config = config_of(guest_fragment(Arch.AMD64)) | {"MODULE_SIG_FORCE": "y"}
    findings = check(config)
    assert [f.requirement.grade for f in findings if not f.met and "SIG_FORCE" in f.requirement.wants] == [
        Grade.LIMIT
    ]
    assert is_fit(findings)


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    """What is no configuration and no kernel is an error that says so."""
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(InputError, match="neither a configuration nor a kernel"):
        read_config_of(str(tmp_path / "x"))


def test_the_toolchains_packages_are_those_that_setup_installs() -> None:
    """debian-packages-kernel.txt and the check before a build name the same packages."""
    text = (PROJECT / "debian-packages-kernel.txt").read_text()
    assert sorted(re.findall(r"(?m)^([a-z0-9-]+)", text)) == sorted(PACKAGES)


def test_the_cross_compilers_are_packages_of_their_own() -> None:
    """Whoever builds for this machine needs none; debian-packages-kernel.txt names them in a comment."""
    text = (PROJECT / "debian-packages-kernel.txt").read_text()
    for arch in set(Arch) - {Arch.AMD64}:
        assert re.search(rf"(?m)^# .*\b{arch.facts.cross_package}\b", text)


def test_the_command_names_reasons_and_mends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not met is shown with its reason and its fix, and the status is 1; a gzipped file does as well."""
    path = tmp_path / "config.gz"
    path.write_bytes(gzip.compress(kconfig.render_config({"MODULES": "n", "SYSFS": "y"}).encode()))
    assert status_of(["kernel", "check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "unfit  CONFIG_MODULES=y: loading modules is what the daemon is for\n" in said
    assert "fix it with: hostbuild kernel configure --enable MODULES=y\n" in said
    assert "CONFIG_SYSFS=y" not in said
    assert f"{path}: not fit" in said


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b"CONFIG_MODULES=y\n" * 999), lzma.compress(b"CONFIG_A=y\n" * 99)],
    ids=["gzip", "xz"],
)
def test_a_damaged_configuration_is_called_so(
    packed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is wrong in packed data, cut or changed, is told with the file's name, and is the caller's fault."""
    path = tmp_path / "config.packed"
    for at in range(10, len(packed)):
        path.write_bytes(packed[:at] + bytes([packed[at] ^ 0xFF]) + packed[at + 1 :])
        assert status_of(["kernel", "check", str(path)]) in {0, 1, 100}
        assert "Traceback" not in capsys.readouterr().err
    path.write_bytes(packed[: len(packed) // 2])
    assert status_of(["kernel", "check", str(path)]) == 100
    assert f"{path} is packed, and cannot be unpacked: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("CONFIG_FW_LOADER_USER_HELPER_FALLBACK=y", "such a driver's load takes 60 s"),
        ("CONFIG_STATIC_USERMODEHELPER=y", "what it asks for by itself"),
        ('CONFIG_MODPROBE_PATH="/opt/modprobe"', "the kernel calls another program"),
    ],
)
def test_what_it_does_to_a_boot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    """Options that a guest boots with, and that take something from it, are told with what that is."""
    path = tmp_path / "config"
    for text, there in ((line, True), (f"# {line.partition('=')[0]} is not set", False)):
        path.write_text(f"CONFIG_MODULES=y\n{text}\n")
        status_of(["kernel", "check", str(path)])
        assert (words in " ".join(capsys.readouterr().out.split())) is there


def test_the_command_speaks_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json every point is there, met or not; a fit kernel ends with 0."""
    path = tmp_path / "config"
    path.write_text(kconfig.render_config(config_of(guest_fragment(Arch.AMD64))))
    assert status_of(["kernel", "check", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["fit"] is True
    assert [finding["wants"] for finding in said["findings"]] == [
        r.wants for r in REQUIREMENTS if Arch.AMD64 in r.arches
    ]


def test_a_file_that_is_no_configuration_is_not_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """kbuild would take any text for an empty configuration and build its defaults."""
    (tmp_path / "notes.txt").write_text("CONFIG_ is how options begin\n")
    assert status_of(["kernel", "build", "--config", str(tmp_path / "notes.txt")]) == 100
    assert "neither a configuration nor a kernel" in capsys.readouterr().err
