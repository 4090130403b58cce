"""boot.py: a kernel whose modules cannot be found, and why."""

from pathlib import Path

import pytest

from modaliasd.service import boot

KERNEL = "6.1.0-x"


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([f"{KERNEL}/modules.dep"], ""),
        ([f"{KERNEL}/modules.dep", f"{KERNEL}.squashfs"], ""),
        ([f"{KERNEL}.squashfs"], f"{KERNEL}.squashfs is not mounted"),
        ([f"{KERNEL}/modules.alias"], f"there is no MODULES/{KERNEL}/modules.dep; depmod makes it"),
        (
            ["5.0/modules.dep", "6.0/x"],
            f"for the running kernel {KERNEL}, there are modules for 5.0, 6.0; boot the",
        ),
        ([], "there are none for any; boot the"),
    ],
)
def test_why_no_module_can_be_found(
    paths: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel's modules, a squashfs that is not mounted and a missing index are told apart."""
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.setattr(boot, "MODULES", str(tmp_path))
    found = boot._missing_modules(f"{tmp_path}/{KERNEL}", KERNEL)
    if not said:
        assert found == ""
        return
    assert found.startswith("no module can be loaded: ")
    assert said.replace("MODULES", str(tmp_path)) in found
