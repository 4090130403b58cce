"""hostbuild.guest.share and network: what --share, --forward say, and QEMU's arguments for it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostbuild.errors import HostbuildError, InputError, UsageError
from hostbuild.guest.network import Forward, network_argv, parse_forward
from hostbuild.guest.share import (
    Share,
    Transport,
    check_places,
    directory_in,
    missing_modules,
    mount_script,
    parse_share,
    share_argv,
)


def test_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is at its own path, or at a place; ro is a word of its own; . is the current folder by its name."""
    inner = tmp_path / "a,b"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert parse_share(".") == Share(inner, str(inner))
    assert parse_share(f"{inner}:ro") == Share(inner, str(inner), read_only=True)
    assert parse_share("..:/mnt") == Share(tmp_path, "/mnt")
    assert parse_share("..:/mnt/x/:ro") == Share(tmp_path, "/mnt/x", read_only=True)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("missing", InputError, "cannot share"),
        ("file", InputError, "is not a directory"),
        ("", UsageError, "expected DIR"),
        (".:mnt", UsageError, "absolute path"),
        (".:/a:/b", UsageError, "expected DIR"),
        (".:/", UsageError, "cover what the guest runs from"),
        (".:/usr", UsageError, "cover what the guest runs from"),
        (".:/proc/1", UsageError, "nothing can be mounted in"),
        (".:/mnt/../usr", UsageError, "cover what the guest runs from"),
    ],
)
def test_bad_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: type[HostbuildError], words: str
) -> None:
    """What is no folder, or would cover the guest's own files, is refused before anything is booted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(kind) as caught:
        parse_share(text)
    assert words in str(caught.value)


def test_two_at_one_place() -> None:
    """Two folders at one place hide one of them: refused."""
    with pytest.raises(UsageError, match="two folders are shared at /mnt"):
        check_places([Share(Path("/a"), "/mnt"), Share(Path("/b"), "/mnt")])


def test_qemu_and_mount(tmp_path: Path) -> None:
    """A comma in a path is QEMU's two; outer folders are mounted before inner ones, each by its own tag."""
    shares = [Share(Path("/s/in,ner"), "/s/in,ner", read_only=True), Share(Path("/s"), "/s")]
    argv = share_argv(shares, Path())
    assert argv[1] == "local,id=share0,path=/s/in,,ner,security_model=none,readonly=on"
    assert argv[7] == "virtio-9p-pci,fsdev=share1,mount_tag=share1"
    script = mount_script(shares)
    assert script.index("share1 /s") < script.index("share0 /s/in,ner")


def test_by_virtiofs() -> None:
    """QEMU asks a socket for the folder, the guest mounts it by the same tag, and ro is the mount's, too."""
    shares = [Share(Path("/s"), "/s", read_only=True, transport=Transport.VIRTIOFS)]
    assert share_argv(shares, Path("/a,b")) == [
        *("-chardev", "socket,id=share0,path=/a,,b/share0.sock"),
        *("-device", "vhost-user-fs-pci,chardev=share0,tag=share0"),
    ]
    assert "mount -t virtiofs -o ro share0 /s" in mount_script(shares)


def test_where_the_guest_has_a_folder() -> None:
    """The current folder's place in the guest follows from the share that it is in."""
    shares = [Share(Path("/home/me/src"), "/src")]
    assert directory_in(shares, Path("/home/me/src/a/b")) == "/src/a/b"
    assert directory_in(shares, Path("/home/me/srcs")) == ""


def test_modules() -> None:
    """Each transport has its own."""
    assert missing_modules(Transport.NINE_P, {"9p", "9pnet_virtio"}) == []
    assert missing_modules(Transport.NINE_P, ()) == ["9p", "9pnet_virtio"]
    assert missing_modules(Transport.VIRTIOFS, {"9p"}) == ["virtiofs"]


def test_forwards() -> None:
    """Only this machine reaches a port unless an address says otherwise; the network is closed unless opened."""
    assert parse_forward("2222:22") == Forward(2222, 22)
    assert parse_forward("udp:0.0.0.0:53:5353") == Forward(53, 5353, "udp", "0.0.0.0")
    assert network_argv([Forward(2222, 22)], is_open=False)[1] == (
        "user,id=network,restrict=on,hostfwd=tcp:127.0.0.1:2222-:22"
    )
    assert network_argv([], is_open=True)[1] == "user,id=network,restrict=off"
    assert network_argv([], is_open=False) == []


@pytest.mark.parametrize(
    "text", ["22", "a:b", "0:22", "22:70000", "tcp:22", "1.2.3:1:1", "999.0.0.1:1:1", "", "1:1,x=y"]
)
def test_bad_forwards(text: str) -> None:
    """What is no port, or would be more than one of QEMU's words, is refused."""
    with pytest.raises(UsageError, match="forward"):
        parse_forward(text)


@given(st.text(max_size=30))
def test_anything_is_a_value_or_an_error(text: str) -> None:
    """No text makes another exception, and none passes more than ports and an address to QEMU."""
    try:
        one = parse_forward(text)
    except UsageError:
        return
    assert set(one.address) <= set("0123456789.")
