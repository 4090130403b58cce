"""A stand-in for ssh and the computer behind it: what users meet there, without an sshd.

It runs the worker on this machine. Nothing needs forwarding: the order's ports are made those of the options -R and -L.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

# By the name of the host: what ssh, or the shell there, says; any other has a worker.
SAYS = {
    "stranger": "No ED25519 host key is known for stranger.\nHost key verification failed.",
    "locked": "me@locked: Permission denied (publickey,password).",
    "bare": "bash: line 1: python3: command not found",
    "closed": "Error: remote port forwarding failed for listen port 20000",
    "mute": "",
}


def lay_fake_ssh(folder: Path) -> Path:
    """Write an `ssh`; return the folder to put in front of PATH. HOST.log, HOST.worker: its calls, its worker's id."""
    programs = folder / "fake"
    programs.mkdir()
    program = programs / "ssh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} "$@"\n')
    program.chmod(0o755)
    return programs


def main(folder: Path, argv: list[str]) -> int:
    """Be ssh."""
    host, command = argv[-2:]
    with (folder / f"{host}.log").open("a") as log:
        log.write(f"{command}\n")
    if host in SAYS:
        sys.stderr.write(SAYS[host])
        return 255
    ports = {
        word: int(argv[at + 1].rpartition(":")[2]) for at, word in enumerate(argv) if word in ("-R", "-L")
    }
    order = json.loads(sys.stdin.buffer.readline())
    order |= {"scheduler": ports["-R"], "contact": ports["-L"]}
    order |= {"version": "0.0.1"} if host == "old" else {}
    sys.stdout.write("Welcome!\n")
    sys.stdout.flush()
    worker = subprocess.Popen(["sh", "-c", f"exec {command}"], stdin=subprocess.PIPE)
    assert worker.stdin is not None
    (folder / f"{host}.worker").write_text(str(worker.pid))
    worker.stdin.write(json.dumps(order).encode() + b"\n")
    worker.stdin.flush()

    def hear_end() -> None:
        sys.stdin.buffer.read()
        worker.stdin.close()  # type: ignore[union-attr]

    threading.Thread(target=hear_end, daemon=True).start()
    status = worker.wait()
    if status < 0:
        sys.stderr.write(f"Connection to {host} closed by remote host.\n")
    return 255 if status < 0 else status


if __name__ == "__main__":
    status = main(Path(sys.argv[1]), sys.argv[2:])
    sys.stderr.flush()
    os._exit(status)  # a thread still reads
