"""A cell's guest as an environment of labgrid's: a QEMUDriver, and a shell on its console. Pure.

Sources: labgrid's labgrid/driver/qemudriver.py (extra_args are split as a shell's words; boot_args are -append's; paths
of `images` are the file's own folder's), shelldriver.py.
"""

import math
from typing import Any

from hostbuild.matrix.emit.wiring import PROMPT, Wiring, quoted


def labgrid_environment(
    wiring: Wiring, accel: str, kernel: str, image: str, limit_s: float
) -> dict[str, Any]:
    """Return an environment with one target.

    kernel: its path from the file's folder. image: its whole path. limit_s: until the shell has to be there.
    """
    words = ["-nodefaults", "-no-user-config", "-no-reboot", "-accel", accel, "-smp", str(wiring.cpus)]
    words += [*wiring.hardware, "-initrd", image]
    return {
        "targets": {
            "main": {
                "drivers": {
                    "QEMUDriver": {
                        "qemu_bin": "qemu",
                        "machine": wiring.machine,
                        "cpu": wiring.cpu,
                        "memory": f"{wiring.memory}M" if wiring.memory.isdigit() else wiring.memory,
                        "kernel": "kernel",
                        "boot_args": wiring.words,
                        "extra_args": " ".join(map(quoted, words)),
                    },
                    "ShellDriver": {
                        "prompt": PROMPT,
                        "login_prompt": "login: ",
                        "username": "root",
                        "login_timeout": math.ceil(limit_s),
                    },
                }
            }
        },
        "tools": {"qemu": wiring.qemu},
        "images": {"kernel": kernel},
    }
