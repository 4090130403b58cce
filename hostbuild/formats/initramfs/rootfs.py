"""What a kernel makes of an initramfs: the root file system that unpacking leaves, without the files' contents.

Members are applied in their order by the rules of init/initramfs.c (do_name, do_symlink, clean_path, maybe_link), and
paths are looked up by those of path_resolution(7), below the root: `..` and absolute links cannot leave it.
"""

import errno
import os
import posixpath
import stat
from collections.abc import Iterator

from hostbuild.formats.initramfs.newc import Member

_LINKS_MAX = 40  # MAXSYMLINKS, in one look-up
_NAME_MAX = 255
_BUILT_IN = (  # usr/default_cpio_list: what there is before an image is unpacked
    Member("dev", stat.S_IFDIR | 0o755),
    Member("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
    Member("root", stat.S_IFDIR | 0o700),
)


class Node:
    """An inode.

    mode: as in st_mode. size: bytes of a file, or of a link's target. source: the number of the member whose data it
    has, None: it has none. target: of a symbolic link. device: of a device node. children: of a directory.
    built_in: no member has touched it.
    """

    __slots__ = ("built_in", "children", "device", "mode", "parent", "size", "source", "target")

    def __init__(self, mode: int, parent: "Node | None" = None) -> None:
        self.mode = mode
        self.size = 0
        self.source: int | None = None
        self.target = ""
        self.device = (0, 0)
        self.parent = parent or self  # of a directory; the root's is itself
        self.children: dict[str, Node] | None = {} if stat.S_ISDIR(mode) else None
        self.built_in = False


class Root:
    """A root file system in the making, and to be looked into."""

    def __init__(self) -> None:
        self.top = Node(stat.S_IFDIR | 0o755)
        self._links: dict[tuple[tuple[int, int], int, int], str] = {}
        for member in _BUILT_IN:
            self.unpack(member, 0)
            self._look_up(member.name).built_in = True

    # Unpacking

    def unpack(self, member: Member, number: int) -> str:
        """Do with a member as the kernel does; say why it comes to nothing, "" where it does not.

        number: tells this member's data from that of the others.
        """
        if member.passed_over:
            return member.passed_over
        if member.is_trailer:
            self._links.clear()
            return ""
        try:
            self._unpack(member, number)
        except OSError as e:
            return e.strerror or str(e)
        return ""

    def _unpack(self, member: Member, number: int) -> None:
        path, kind = member.name, stat.S_IFMT(member.mode)
        if kind == stat.S_IFLNK:
            self._clean(path, 0)
            link = self._create(path, Node(stat.S_IFLNK | 0o777))
            link.target, link.size = member.target, len(member.target.encode("utf-8", "surrogateescape"))
            return
        self._clean(path, kind)
        if kind == stat.S_IFREG:
            linked = self._link(member)
            node = self._open(path, member.mode)
            if not linked:
                node.size, node.source = 0, None
            if member.size:
                node.size, node.source = member.size, number
        elif kind == stat.S_IFDIR:
            self._make_directory(path, member.mode)
        elif kind in (stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK):
            if self._link(member):
                return
            found = self.find(path)
            if found is None:
                found = self._create(path, Node(member.mode))
                found.device = member.device
            self._touch(found, member.mode)
        else:
            raise OSError(errno.EINVAL, f"its type is unknown (mode {member.mode:o})")

    def _clean(self, path: str, kind: int) -> None:
        """Remove what lies there if it is of another type; a directory, only if it is empty."""
        node = self.find_link(path)
        if node is None or node.children or stat.S_IFMT(node.mode) == kind:
            return
        parent, name, _ = self._walk(path.rstrip("/") or "/", follow=False)
        if parent.children is not None and parent.children.get(name) is node:
            del parent.children[name]

    def _link(self, member: Member) -> bool:
        """Make a hard link if the inode has come before. Raises OSError where that fails."""
        if member.nlink < 2:
            return False
        key = (member.dev, member.ino, stat.S_IFMT(member.mode))
        old = self._links.get(key)
        if old is None:
            self._links[key] = member.name
            return False
        self._clean(member.name, 0)
        _, _, node = self._walk(old, follow=False)
        if node is None:
            raise _error(errno.ENOENT, f"the name that it is a link to, {old}, is gone")
        if node.children is not None:  # which has taken that name since
            raise _error(errno.EPERM, f"the name that it is a link to, {old}, is a directory")
        self._create(member.name, node)
        return True

    def _open(self, path: str, mode: int) -> Node:
        """Open for writing, made if it is not there."""
        if path.endswith("/"):
            raise _error(errno.EISDIR)
        parent, name, node = self._walk(path, follow=True)
        if node is None:
            node = self._enter(parent, name, Node(mode))
        if node.children is not None:
            raise _error(errno.EISDIR)
        if not stat.S_ISREG(node.mode):
            raise _error(errno.ENXIO)
        self._touch(node, mode)
        return node

    def _make_directory(self, path: str, mode: int) -> None:
        bare = path.rstrip("/")
        trouble = None
        try:
            if bare:
                self._create(bare, Node(mode))
        except OSError as e:
            trouble = e
        found = self.find(path)
        if found is None:
            raise trouble or _error(errno.ENOENT)
        self._touch(found, mode)
        if found.children is None:
            raise trouble or _error(errno.ENOTDIR)

    def _create(self, path: str, node: Node) -> Node:
        """Enter an inode in its directory under a name that is free."""
        if path.endswith("/"):
            raise _error(errno.ENOENT)
        parent, name, found = self._walk(path, follow=False)
        if found is not None:
            raise _error(errno.EEXIST)
        return self._enter(parent, name, node)

    @staticmethod
    def _enter(parent: Node, name: str, node: Node) -> Node:
        if parent.children is None:
            raise _error(errno.ENOTDIR)
        parent.children[name] = node
        if node.children is not None:
            node.parent = parent
        return node

    @staticmethod
    def _touch(node: Node, mode: int) -> None:
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        node.built_in = False

    # Looking

    def find(self, path: str) -> Node | None:
        """Find what a path leads to, through symbolic links; None where it leads nowhere."""
        try:
            return self._walk(path, follow=True)[2]
        except OSError:
            return None

    def find_link(self, path: str) -> Node | None:
        """Find what lies at a path, be it a symbolic link."""
        try:
            return self._walk(path, follow=False)[2]
        except OSError:
            return None

    def is_null(self, path: str) -> bool:
        """Whether a path leads to /dev/null, which is there once devtmpfs is mounted."""
        node = self.find_link(path)
        if node is not None and stat.S_ISLNK(node.mode) and node.target:
            path = posixpath.join("/", posixpath.dirname(path), node.target)
        return posixpath.normpath(path) == "/dev/null"

    def names(self, path: str) -> list[str]:
        """List a directory, sorted; [] where there is none."""
        node = self.find(path)
        return sorted(node.children) if node is not None and node.children else []

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Give every path that a member made with its inode, in order, the root not included."""
        waiting = [("", self.top)]
        while waiting:
            path, node = waiting.pop()
            if path and not node.built_in:
                yield path, node
            for name in sorted(node.children or (), reverse=True):
                assert node.children is not None
                waiting.append((f"{path}/{name}" if path else name, node.children[name]))

    def _look_up(self, path: str) -> Node:
        node = self.find(path)
        assert node is not None, f"{path} is there"
        return node

    def _walk(self, path: str, *, follow: bool) -> tuple[Node, str, Node | None]:
        """Resolve a path: the directory where it ends, the last name, and what is there.

        follow: a link at the end, too. Raises OSError where a directory on the way is none.
        """
        if not path:
            raise _error(errno.ENOENT, "its name is empty")
        at: Node = self.top
        node: Node | None = self.top
        name, links, pending = ".", 0, _parts(path)
        while pending:
            directory = at.children
            if directory is None:
                raise _error(errno.ENOTDIR)
            name = pending.pop()
            if name in (".", ".."):
                at = node = at if name == "." else at.parent
                continue
            node = _entry(directory, name, last=not pending)
            if node is None or not (pending or (follow and stat.S_ISLNK(node.mode))):
                break
            if stat.S_ISLNK(node.mode):
                links += 1
                if links > _LINKS_MAX or not node.target:
                    raise _error(errno.ELOOP if node.target else errno.ENOENT)
                pending.extend(_parts(node.target))
                node = self.top if node.target.startswith("/") else at
            at = node
        return at, name, node


def _entry(directory: dict[str, Node], name: str, *, last: bool) -> Node | None:
    """Look into a directory; None for a name that may yet be made there."""
    if len(name.encode("utf-8", "surrogateescape")) > _NAME_MAX:
        raise _error(errno.ENAMETOOLONG)
    found = directory.get(name)
    if found is None and not last:
        raise _error(errno.ENOENT, f"there is no directory {name}")
    return found


def _parts(path: str) -> list[str]:
    """Give a path's names, the last one first; a slash at the end wants a directory, as `/.` does."""
    parts = [part for part in path.split("/") if part]
    return (["."] if path.endswith("/") else []) + parts[::-1]


def _error(number: int, text: str = "") -> OSError:
    return OSError(number, text or os.strerror(number))
