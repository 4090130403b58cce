"""Measure which of its functions the daemon calls until its first modprobe has been started: `make boot-calls`.

Writes hostbuild/image/sources/bootpath/called.py, by which images put off what else the boot path has. A guest is
booted with machine q35 and the default modules, under a profiler that stops where the daemon begins to listen.
"""

import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from hostbuild.fs.files import write_file
from hostbuild.image.build import ImageOptions, build_image
from hostbuild.image.sources.daemon import JOINED, LIBRARY
from hostbuild.qemu.boot import Boot
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM

TARGET = Path(__file__).parent.parent / "hostbuild/image/sources/bootpath/called.py"
LIMIT_S = 300.0
LISTENS = "Service.listen"  # what is called from here on need not be there before
# Called on the same way where the configuration has a problem to tell of
ALSO = {"modaliasd.core.kmod.modprobe_d": {"topic_of"}}
PROGRAM = f"""#!/usr/bin/python3 -SsP
import sys
sys.path.insert(0, "/{LIBRARY}")
if sys.argv[1:] == ["run"]:
    import gc
    gc.disable()
    import {JOINED}
    called = {{}}
    def note(frame, event, _):
        code = frame.f_code
        if event != "call" or not code.co_flags & 2:  # CO_NEWLOCALS: no body of a class
            return
        if code.co_qualname == "{LISTENS}":
            sys.setprofile(None)
            with open("/boot-calls", "w") as stream:
                stream.writelines(f"{{file}} {{name}}\\n" for file, name in called)
        called[code.co_filename, code.co_qualname] = None
    sys.setprofile(note)
from modaliasd.cli import main
sys.exit(main(sys.argv[1:]))
"""
HEAD = '''"""What the daemon calls until its first modprobe has been started: made by `make boot-calls`, in a guest.

Module -> the qualified names of its functions, without those that importing the modules calls. What is not here is read
later (putoff.py).
"""

CALLED = {
'''


def measured(directory: Path) -> dict[str, set[str]]:
    """Boot a guest; the functions that were called, by module."""
    program = directory / "overlay/usr/bin/modaliasd"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    built = build_image(directory / "calls.img", ImageOptions(overlays=(directory / "overlay",)))
    boot = Boot(built.kernel.vmlinuz, built.image, append="quiet", memory=1024, limit_s=LIMIT_S)
    with VM(read_machine("q35"), boot) as vm:
        vm.wait_for("settled", timeout=LIMIT_S)
        lines = vm.check("cat /boot-calls").splitlines()
    found = {module: set(names) for module, names in ALSO.items()}
    for line in lines:
        file, name = line.split(" ", 1)
        module = file.removeprefix(f"/{LIBRARY}/").removesuffix(".py").replace("/", ".")
        if "<" not in name and module.startswith("modaliasd."):
            found.setdefault(module, set()).add(name)
    return found


def main() -> None:
    """Measure, and write the module."""
    with tempfile.TemporaryDirectory() as temporary:
        found = measured(Path(temporary))
    text = HEAD
    for module in sorted(found):
        lines = textwrap.wrap(" ".join(sorted(found[module])), 90)
        parts = "".join(f'\n        "{line}{" " * (line is not lines[-1])}"' for line in lines)
        text += (
            f'    "{module}": ({parts}\n    ),\n'
            if len(lines) > 1 or len(parts) > 70
            else f'    "{module}": "{lines[0]}",\n'
        )
    write_file(TARGET, f"{text}}}\n".encode(), "the list of what is called")
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(TARGET)], check=True)


if __name__ == "__main__":
    main()
