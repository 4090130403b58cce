r"""A cell as a job file for LAVA: what to fetch, how its QEMU boots it, and a test over the console. Pure.

    deploy to tmpfs       kernel and image, by URL and SHA-256
    boot by qemu          until the shell's prompt
    test interactive      a line for the guest's shell each, which prints MARK:STATUS: at its end:
        settled               modaliasd settle
        module-NAME           of [[expect]]
        bound-DRIVER          of [[expect]]
        TEST                  the cell's own; of one that only boots, whether /etc/settled.d is content

Each line is a test case of the job's result. LAVA reads lines off the console, so a word that the command itself may
print cannot decide: the mark is the cell's own. What is longer than the shell's line goes as base64, in pieces.

Sources: LAVA's lava_common/schemas, lava_dispatcher/actions/test/interactive.py (a prompt comes before failures, and
these before successes, where they match at the same place), device-types/qemu.jinja2 (what `context` sets).
"""

import base64
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hostbuild.arch import Arch
from hostbuild.errors import InputError
from hostbuild.matrix.asked.cells import Cell, Expected
from hostbuild.matrix.asked.job import Job
from hostbuild.matrix.emit.wiring import PROMPT, Wiring, quoted

DEVICE_TYPE = "qemu"
_DEPLOY_S = 600  # to fetch kernel and image
_LINE = 700  # bytes; busybox's shell takes a line of 1023
_MOST = 48 << 10  # bytes of a script that is typed in
_NOT_NAME = re.compile(r"[^-_a-zA-Z0-9.]+")  # of what LAVA takes for the name of a test case
_MOST_NAME = 200
_SCRIPT = "/run/matrix-test"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that the lab fetches."""

    url: str
    sha256: str


def why_not(job: Job, expected: Expected) -> str:
    """Say why a cell can be no job of LAVA's; "" where it can."""
    if job.pytest:
        return "tests of pytest run on this side of the console"
    if not job.command and expected.status:
        return "a guest that only boots has no status on the console, and [[expect]] wants one"
    return ""


def lava_job(
    cell: Cell, job: Job, expected: Expected, wiring: Wiring, kernel: Fetched, image: Fetched
) -> dict[str, Any]:
    """Return a job as LAVA's schema has it. Raises InputError for a script that is too long to be typed in."""
    limit = math.ceil(job.limit_s)
    name = test_name(cell.name)
    return {
        "job_name": cell.name[:_MOST_NAME],
        "device_type": DEVICE_TYPE,
        "visibility": "public",
        "priority": "medium",
        "timeouts": {
            "job": _time(_DEPLOY_S + 3 * limit),
            "action": _time(max(_DEPLOY_S, limit)),
            "connection": _time(limit),  # how long a line of the test may take
        },
        "context": _context(wiring, job),
        "metadata": {"hostbuild.cell": cell.name, "hostbuild.key": job.key},
        "actions": [
            {
                "deploy": {
                    "to": "tmpfs",
                    "timeout": _time(_DEPLOY_S),
                    "images": {
                        "kernel": _fetch(kernel, f"-kernel {{kernel}} -append {quoted(wiring.words)}"),
                        "ramdisk": _fetch(image, "-initrd {ramdisk}"),
                    },
                }
            },
            {
                "boot": {
                    "method": "qemu",
                    "media": "tmpfs",
                    "timeout": _time(limit),
                    "prompts": [PROMPT],
                    # `quiet` keeps back the line that LAVA waits for otherwise.
                    "parameters": {"kernel-start-message": ""},
                }
            },
            {
                "test": {
                    "timeout": _time(2 * limit),
                    "interactive": [
                        {"name": name, "prompts": [PROMPT], "script": list(_steps(cell, job, expected))}
                    ],
                }
            },
        ],
    }


def test_name(text: str) -> str:
    """Return a text as the name of a test, or of a file."""
    return _NOT_NAME.sub("-", text).strip("-.") or "test"


def _context(wiring: Wiring, job: Job) -> dict[str, Any]:
    """Return what the device type makes QEMU's command line of. Its own network card stands beside ours."""
    found: dict[str, Any] = {"arch": wiring.arch.value, "memory": wiring.memory}
    extra = ["-no-reboot", f"-smp {wiring.cpus}"]
    if wiring.arch is Arch.AMD64:
        extra.append(f"-machine {quoted(wiring.machine)}")
        if job.accel == "tcg":
            extra.append(f"-cpu {quoted(wiring.cpu)}")
    else:
        found |= {"machine": wiring.machine, "cpu": wiring.cpu}
    if job.accel == "tcg":
        found["no_kvm"] = True
    pairs = zip(wiring.hardware[::2], wiring.hardware[1::2], strict=True)
    found["extra_options"] = [*extra, *(f"{option} {quoted(value)}" for option, value in pairs)]
    return found


def _steps(cell: Cell, job: Job, expected: Expected) -> Iterator[dict[str, Any]]:
    mark = f"matrix-{job.key[:8]}"
    settled = _step("settled", f"modaliasd settle --timeout {math.ceil(job.limit_s)}", mark)
    settled["failures"][0] |= {"exception": "TestError", "error": "the guest did not settle"}
    yield settled
    for module in expected.modules:
        loaded = f"grep -q {shlex.quote('^' + module.replace('-', '_') + ' ')} /proc/modules"
        yield _step(f"module-{module}", loaded, mark)
    for wish in expected.bound:
        yield _step(f"bound-{wish}", _is_bound(wish), mark)
    if not job.command:
        # It runs beside this line, and has begun when the settle is told.
        done = "sleep 1; while pgrep -f lib/micro/settled >/dev/null; do sleep 1; done"
        yield _step(cell.test.name, f"{done}; ! grep -q settled.d/ /run/modaliasd/ledger*", mark)
        return
    line = shlex.join(job.command)
    if job.stdin:
        yield from _typed(job.stdin, cell)
        line = f"sh {_SCRIPT}"
    elif "\n" in line or len(line.encode()) > _LINE:
        yield from _typed(line.encode("utf-8", "surrogateescape"), cell)
        line = f"sh {_SCRIPT}"
    yield _step(cell.test.name, line, mark, expected.status)


def _step(name: str, line: str, mark: str, status: int = 0) -> dict[str, Any]:
    """Return a line of the test. What is typed is echoed, with `$?` where the console has the status later."""
    return {
        "name": test_name(name),
        "command": f'{line}; echo "{mark}:$?:"',
        "successes": [{"message": f"{mark}:{status}:"}],
        "failures": [{"message": rf"{mark}:(?!{status}:)\d+:"}],
    }


def _is_bound(wish: str) -> str:
    """Return a shell's line for DRIVER, or DEVICE=DRIVER, as [[expect]] has it."""
    device, _, driver = wish.rpartition("=")
    if not device:
        return f"ls -d /sys/bus/*/drivers/{shlex.quote(driver)}/*/driver >/dev/null 2>&1"
    path = shlex.quote(f"*/{device.lstrip('/')}/driver")
    target = shlex.quote(f"/{driver}$")
    return f"find /sys/devices -path {path} -exec readlink {{}} ';' | grep -q {target}"


def _typed(content: bytes, cell: Cell) -> Iterator[dict[str, Any]]:
    """Yield the lines that make a file of a script."""
    if len(content) > _MOST:
        raise InputError(
            f"the script of [tests.{cell.test.name}] has {len(content)} bytes: too long for LAVA, which types it in",
            hint="put it into the image, by an overlay, and call it",
        )
    text = base64.b64encode(content).decode()
    yield {"command": f": >{_SCRIPT}.base64"}
    for start in range(0, len(text), _LINE):
        yield {"command": f"echo {text[start : start + _LINE]} >>{_SCRIPT}.base64"}
    yield {"command": f"base64 -d {_SCRIPT}.base64 >{_SCRIPT}"}


def _fetch(file: Fetched, argument: str) -> dict[str, Any]:
    return {"url": file.url, "sha256sum": file.sha256, "image_arg": argument}


def _time(seconds: float) -> dict[str, int]:
    return {"seconds": math.ceil(seconds)}
