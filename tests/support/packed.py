"""Long outputs of a guest's commands, packed on their way: the serial line takes a tenth of a megabyte a second."""

import base64
import gzip

from hostbuild.qemu.vm import VM


def read_packed(vm: VM, command: str, timeout: float = 200) -> str:
    """What the command writes, `cat` of a whole ledger for one."""
    text = vm.check(f"{command} | gzip -c | base64", timeout=timeout)
    return gzip.decompress(base64.b64decode(text)).decode("utf-8", "surrogateescape")
