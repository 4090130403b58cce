"""What the commands that ask the daemon make of its answer: commands/ask.py, with a socket in the daemon's place."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modaliasd.cli import main
from modaliasd.commands import ask as commands
from modaliasd.linux import control

Answering = Callable[..., list[bytes]]


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answering:
    """Answer one request with each of these bytes; gives the list that the requests come into."""
    path = str(tmp_path / "control")
    monkeypatch.setattr(commands, "CONTROL", path)
    monkeypatch.setattr("modaliasd.patience.CONTROL", path)
    monkeypatch.setattr("posix.geteuid", lambda: 0)

    def answer(*answers: bytes) -> list[bytes]:
        asked: list[bytes] = []
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)

        def serve() -> None:
            with listener:
                for said in answers:
                    client, _ = listener.accept()
                    with client:
                        client.settimeout(20)
                        asked.append(client.recv(4096))
                        client.sendall(said)

        threading.Thread(target=serve, daemon=True).start()
        return asked

    return answer


@pytest.mark.parametrize("half", [b'{"ok": true, "queued": [', b'{"ok": true}'])
def test_half_an_answer_is_none(
    answering: Answering, capsys: pytest.CaptureFixture[str], half: bytes
) -> None:
    """A daemon that dies while it answers is told as that, not as an unexpected error. An answer ends in a newline."""
    answering(half)
    assert main(["status"]) == 111
    said = capsys.readouterr()
    assert said.out == ""
    assert "broke off its answer" in said.err
    assert "unexpected" not in said.err


def test_who_settles_asks_again_after_half_an_answer(answering: Answering) -> None:
    """The next daemon is asked, as after no answer."""
    asked = answering(b'{"ok": tr', b'{"ok": true}\n')
    assert main(["settle", "--timeout", "20"]) == 0
    assert [request.split()[0] for request in asked] == [b"settle", b"settle"]


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["load", "ext4", "dm-mod"], b"load ext4 dm-mod\n"),
        (["freeze"], b"freeze\n"),
        (["may-load", "--", "net-pf-38"], b"may-load net-pf-38\n"),
        (["settled-script", "3", "/etc/settled.d/10 a"], b"settled-script 3 /etc/settled.d/10 a\n"),
        (["poweroff", "3"], b"exit 3\n"),
        (["wait", "driver:e1000"], b"wait 0 driver:e1000\n"),
    ],
)
def test_a_refusal_is_told(
    answering: Answering, capsys: pytest.CaptureFixture[str], words: list[str], request_: bytes
) -> None:
    """The daemon's reason and what it still loads go to standard error, no control character of them; the status is 1.

    A machine whose daemon refuses stays on.
    """
    refusal = {"ok": False, "error": "not\x1b[2J now", "loading": ["e1000", "nvme"]}
    asked = answering(json.dumps(refusal).encode() + b"\n")
    assert main(words) == 1
    assert asked == [request_]
    said = capsys.readouterr()
    assert said.out == ""
    first, second = said.err.splitlines()
    assert first.startswith(f"modaliasd {words[0]}: not")
    assert "\x1b" not in first
    assert second == "still loading: e1000, nvme"


def test_status_for_people(answering: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    """A value a line, lists joined, nothing that moves a cursor."""
    answering(b'{"ok": true, "queued": 2, "running": ["e1000", "n\\u001bvme"]}\n')
    assert main(["status"]) == 0
    rows = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["queued", "running"]
    assert rows[0][1] == "2"
    assert rows[1][1].startswith("e1000, n")
    assert "\x1b" not in rows[1][1]


def test_status_as_json(answering: Answering, capsys: pytest.CaptureFixture[str]) -> None:
    """The values as they came, without `ok`."""
    answering(b'{"ok": true, "queued": 2, "running": ["e1000"]}\n')
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"queued": 2, "running": ["e1000"]}


@pytest.mark.parametrize("status", ["256", "-1", "1000", "x", "", "\u0663"])
def test_a_status_that_no_process_has(
    status: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`poweroff` takes 0 to 255 in ASCII's digits; nothing else reaches the daemon, and the machine stays on."""
    monkeypatch.setattr(control, "RawSocket", lambda *_: pytest.fail("the daemon was asked"))
    monkeypatch.setattr(commands, "_power_off", lambda: pytest.fail("switched off"))
    assert main(["poweroff", "--", status]) == 100
    assert "expected a number from 0 to 255" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e6", "soon", ""])
def test_a_time_limit_that_is_none(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit of no length, without end or no number is wrong usage: none may become a wait for ever."""
    assert main(["settle", f"--timeout={seconds}"]) == 100
    assert "--timeout" in (said := capsys.readouterr().err) or "invalid number of seconds" in said
