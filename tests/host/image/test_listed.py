"""image/modules/listed.py: what an overlay has the guest load at boot is in the image."""

from hostbuild.image.filetree import FileTree
from hostbuild.image.modules.listed import named_modules
from hostbuild.image.modules.selection import Index

INDEX = Index(
    paths={name: f"kernel/{name}.ko" for name in ("loop", "dm_mod", "tun", "x")},
    depends={},
    wanted={},
    aliases={"net-pf-9": ("x",), "net_pf_9": ("x",)},
    builtin=frozenset({"inside"}),
)


def tree_of(files: dict[str, bytes]) -> FileTree:
    """A tree with these files."""
    tree = FileTree()
    for path, content in files.items():
        tree.file(path, content, group="overlay", origin="overlay")
    return tree


def test_what_the_files_name() -> None:
    """Names, with dashes or not, and aliases; hidden files, other endings and what the kernel lacks bring nothing."""
    files = {
        "etc/modules": b"# x\ndm-mod a=1\ninside\nnothing\n",
        "etc/modules-load.d/a.conf": b"loop\n",
        "usr/lib/modules-load.d/a.conf": b"x\n",
        "usr/lib/modules-load.d/deeper/b.conf": b"x\n",
        "etc/modules-load.d/c": b"x\n",
        "etc/modprobe.d/a.conf": b"x\n",
    }
    assert named_modules(tree_of(files), INDEX) == {"dm_mod", "loop"}
    assert named_modules(tree_of({"run/modules-load.d/z.conf": b"net-pf-9\ntun"}), INDEX) == {"x", "tun"}
    assert named_modules(tree_of({}), INDEX) == set()
