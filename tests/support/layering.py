"""Which module may import which, and which may touch the outside, by rule: docs/architecture.md's floors as a table.

Each package, and each module that stands directly in `modaliasd` or `hostbuild`, is a room. A room's row says which
other rooms it may import, and which of its modules may touch the outside (files, processes, sockets, clocks, the
environment); all others are pure. A package or a module without a row is a finding, so nothing is let in unseen.
"""

import ast
from dataclasses import dataclass
from pathlib import Path


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


IMPURE = _words(
    """
    asyncio ctypes datetime fcntl getpass glob http io locale logging mmap multiprocessing os platform posix pty random
    secrets select shutil signal socket _socket subprocess sys tempfile termios threading time tty urllib
    """
)
# Of impure modules, what is a value or a computation.
HARMLESS = frozenset(
    {
        "sys.intern",
        "sys.byteorder",
        "io.BytesIO",
        "io.StringIO",
        "os.PathLike",
        "os.strerror",
        "sys.getrefcount",
    }
)
CALLS = frozenset({"open", "print", "input", "breakpoint", "exec", "eval"})
PATH_CALLS = _words(
    """
    chmod cwd exists expanduser glob hardlink_to home is_dir is_file is_symlink iterdir lstat mkdir open read_bytes
    read_text readlink rename replace resolve rglob rmdir samefile stat symlink_to touch unlink write_bytes write_text
    """
)
ALL = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class Room:
    """A row: the other rooms that it may import, and its modules that may touch the outside."""

    imports: frozenset[str]
    shells: frozenset[str] = frozenset()


def room(imports: str = "", shells: str = "") -> Room:
    """Write a row down: names separated by blanks; `*` for all."""
    return Room(frozenset(imports.split()), frozenset(shells.split()))


def findings(root: Path, package: str, rooms: dict[str, Room]) -> list[str]:
    """Say what breaks the rules in the package's tree below `root` (the directory that holds the package)."""
    found = []
    for source in sorted((root / package).rglob("*.py")):
        name = ".".join(source.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        home = _room_of(name, rooms, is_package=source.name == "__init__.py")
        if home is None:
            found.append(f"{name}: no room of the table has a place for it")
            continue
        tree = ast.parse(source.read_text(encoding="utf-8"))
        found += [f"{name}: imports {other}" for other in _forbidden(tree, home, rooms, package)]
        shells = rooms[home].shells
        if "*" not in shells and name.rpartition(".")[2] not in shells:
            found += [f"{name}: is no shell, and {what}" for what in _touches(tree)]
    return found


def circles(rooms: dict[str, Room]) -> list[str]:
    """Name the rooms from which a way of permitted imports leads back."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(rooms[start].imports)
        while waiting:
            one = waiting.pop()
            if one not in seen and one in rooms:
                seen.add(one)
                waiting += rooms[one].imports
        return seen

    return [name for name in rooms if name in reach(name)]


def _room_of(name: str, rooms: dict[str, Room], *, is_package: bool) -> str | None:
    """The room of a module: its own row, else its package's; packages, and what stands at the top, have their own."""
    if name in rooms:
        return name
    parent = name.rpartition(".")[0]
    return parent if parent in rooms and "." in parent and not is_package else None


def _forbidden(tree: ast.AST, home: str, rooms: dict[str, Room], package: str) -> list[str]:
    allowed = rooms[home].imports | {home}
    found = []
    for name in sorted(imported(tree)):
        if name.partition(".")[0] not in {package, *(one.partition(".")[0] for one in rooms)}:
            continue
        target = name if name in rooms else name.rpartition(".")[0]
        while target and target not in rooms:
            target = target.rpartition(".")[0]
        if target and target not in allowed and not any(one.startswith(f"{name}.") for one in rooms):
            found.append(name)
    return found


def imported(tree: ast.AST) -> set[str]:
    """Absolute names of the modules that are imported anywhere, and of what is taken out of them."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None, "a relative import"
            assert node.level == 0, "a relative import"
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _touches(tree: ast.AST) -> list[str]:
    """What a module does that only shells may."""
    taken = imported(tree)
    found = []
    plain = {name for name in taken if name.partition(".")[0] in IMPURE}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            dotted = f"{node.value.id}.{node.attr}"
            if node.value.id in plain and dotted not in HARMLESS:
                found.append(f"uses {dotted}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            found.append(f"calls {node.func.id}()")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in PATH_CALLS
            and "pathlib.Path" in taken
            and not (node.func.attr == "replace" and len(node.args) > 1)
        ):
            found.append(f"calls .{node.func.attr}()")
    found += [f"imports {name}" for name in sorted(plain) if "." in name and name not in HARMLESS]
    return sorted(set(found))
