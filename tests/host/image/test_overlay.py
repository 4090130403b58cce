"""Overlays: what they keep of the host's files, and in which order they win."""

import os
import socket
from pathlib import Path

import pytest

from hostbuild.image.filetree import FileTree, NodeKind
from hostbuild.image.sources import overlay
from hostbuild.image.sources.overlay import OverlayError, read_overlay


def test_modes_links_and_hard_links_are_kept(tmp_path: Path) -> None:
    """Permissions with setuid, symlink targets, empty directories; two names of a file are one entry."""
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin/tool"
    tool.write_bytes(b"#!/bin/sh\n")
    tool.chmod(0o4750)
    (tmp_path / "bin/alias").hardlink_to(tool)
    (tmp_path / "link").symlink_to("bin/tool")
    (tmp_path / "empty").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    tree = FileTree()
    read_overlay(tmp_path).put(tree)
    assert tree["bin/tool"] is tree["bin/alias"]
    assert tree["bin/tool"].mode == 0o104750
    assert tree["link"].target == "bin/tool"
    assert tree["empty"].mode == 0o040700
    assert tree["pipe"].kind is NodeKind.FIFO


def test_later_wins(tmp_path: Path) -> None:
    """A file of the second overlay replaces the first's, the rest of the first stays."""
    for name, files in {"a": ("x", "y"), "b": ("y",)}.items():
        (tmp_path / name / "etc").mkdir(parents=True)
        for file in files:
            (tmp_path / name / "etc" / file).write_text(name)
    tree = FileTree()
    for name in ("a", "b"):
        read_overlay(tmp_path / name).put(tree)
    assert (tree["etc/x"].read(), tree["etc/y"].read()) == (b"a", b"b")


def test_missing_and_odd_overlays_are_named(tmp_path: Path) -> None:
    """An overlay that is not there, or is a file, is an error with its path."""
    (tmp_path / "file").touch()
    with pytest.raises(OverlayError, match="nowhere does not exist"):
        read_overlay(tmp_path / "nowhere")
    with pytest.raises(OverlayError, match="file is an empty file, not a directory"):
        read_overlay(tmp_path / "file")


def test_digest_changes_with_mode_and_content(tmp_path: Path) -> None:
    """The digest in the manifest is the same for the same content, and another for another mode."""
    (tmp_path / "x").write_text("1")
    first = read_overlay(tmp_path).sha256()
    assert read_overlay(tmp_path).sha256() == first
    (tmp_path / "x").chmod(0o600)
    assert read_overlay(tmp_path).sha256() != first


def test_python_files_are_found(tmp_path: Path) -> None:
    """Scripts by their first line, modules by their name; shell scripts are none."""
    (tmp_path / "a").write_text("#!/usr/bin/env python3\nimport json\n")
    (tmp_path / "b.py").write_text("import mmap\n")
    (tmp_path / "c").write_text("#!/bin/sh\n# not python3\n")
    assert [source.split()[-1] for source in read_overlay(tmp_path).python_sources()] == [b"json", b"mmap"]


def test_own_overlay_does_not_depend_on_the_umask() -> None:
    """hostbuild's own files are 755 or 644, however they were checked out."""
    modes = {
        entry.permissions for _, entry in overlay.read_own().entries if entry.kind is not NodeKind.SYMLINK
    }
    assert modes <= {0o755, 0o644}


def test_sockets_are_left_out(tmp_path: Path) -> None:
    """A program's socket that lies in the directory is no file of the image's; what is beside it comes."""
    (tmp_path / "x").write_text("1")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert [path for path, _entry in read_overlay(tmp_path).entries] == ["x"]
