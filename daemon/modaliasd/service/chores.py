"""What a boot does besides the devices' modules, once these are under way: static nodes, and modules named in files.

Not imported before the first walk has ended, so that no disk waits for it (loop.py).
"""

from __future__ import annotations

from modaliasd.linux.named.lists import read_modules_load
from modaliasd.linux.named.nodes import make_static_nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from modaliasd.service.ports.outside import Writer
    from modaliasd.service.ports.parts import ListedRegistry

NODES, LISTS = "static nodes", "modules-load.d"  # `what` of the warnings


def do_chores(
    *,
    modules_dir: str,
    command_line: str,
    load_listed: bool,
    registry: ListedRegistry,
    writer: Writer,
    root: str = "",
) -> None:
    """Make the nodes of modules.devname; ask for what modules-load.d names. What goes wrong becomes a warning.

    load_listed: False where that has been done in this boot: what somebody has removed since stays away.
    """
    for problem in make_static_nodes(modules_dir, f"{root}/dev"):
        _warn(writer, NODES, problem.file, problem.line, problem.message)
    if not load_listed:
        return
    listed, problems = read_modules_load(command_line, root)
    for problem in problems:
        _warn(writer, LISTS, problem.file, problem.line, problem.message)
    for entry in listed:
        for message in registry.want_listed(entry):
            _warn(writer, LISTS, entry.file, entry.line, message)


def _warn(writer: Writer, what: str, path: str, line: int, message: str) -> None:
    writer.write("warning", {"what": what, "path": path, "line": line or None, "message": message})
