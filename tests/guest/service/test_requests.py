"""What clients ask of the daemon besides waiting (service/clients): over a control socket, in a loop in a thread."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from modaliasd.core.device import Device
from modaliasd.core.loading.priority import Rank
from modaliasd.core.policy.rules import parse_policy
from modaliasd.linux.control import Control, ask
from tests.support.fakeworld import Fakes, FakeSupervisor

DISK = Device("/devices/pci0/disk", "block", "", "sd", "disk", "vda")


class Daemon:
    """A running service on fakes."""

    def __init__(self, path: Path, **more: Any) -> None:
        self.path = str(path)
        self.supervisor = FakeSupervisor()
        self.fakes = Fakes(
            now_us=1,
            control=Control(self.path, os.geteuid()),
            supervisor=self.supervisor,
            clock=lambda: time.monotonic_ns() // 1000,
            **more,
        )
        self.fakes.sysfs.devices = [DISK]
        self.service = self.fakes.service()
        self.thread = threading.Thread(target=self.service.run, daemon=True)

    def ask(self, *words: str) -> dict[str, Any]:
        """One request and its answer."""
        answer: dict[str, Any] = json.loads(ask(self.path, list(words), 20))
        return answer

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The ledger's records of a kind."""
        return [record for record in self.fakes.records() if record["type"] == kind]


@contextmanager
def daemon(tmp_path: Path, **more: Any) -> Iterator[Daemon]:
    """A daemon that has ended when the block has."""
    running = Daemon(tmp_path / "control", **more)
    running.thread.start()
    yield running
    running.supervisor.end()
    running.thread.join(20)
    assert not running.thread.is_alive()


def test_coldplug_walks_again_and_answers_at_its_settle(tmp_path: Path) -> None:
    """The answer has the counts of a walk that saw what had come meanwhile without an event."""
    with daemon(tmp_path) as running:
        assert running.ask("settle")["devices"] == 1
        running.fakes.sysfs.devices.append(Device("/devices/late", "pci"))
        assert running.ask("coldplug")["devices"] == 2
        assert [walk["reason"] for walk in running.told("walk")] == ["coldplug", "request"]


@pytest.mark.parametrize("status", ["0", "255"])
def test_exit_writes_the_boots_status(tmp_path: Path, status: str) -> None:
    """The line that the host reads as the guest's exit status."""
    with daemon(tmp_path) as running:
        assert running.ask("exit", status) == {"ok": True}
        assert [line["status"] for line in running.told("exit")] == [int(status)]


@pytest.mark.parametrize("status", ["", "256", "-1", "1000", "\u0663", "none"])
def test_exit_takes_a_status_only(tmp_path: Path, status: str) -> None:
    """Anything else is refused and leaves no line."""
    with daemon(tmp_path) as running:
        answer = running.ask("exit", *([status] if status else []))
        assert answer == {"ok": False, "error": "exit: expected a status from 0 to 255"}
        assert running.told("exit") == []


def test_a_frozen_daemon_denies_what_the_policy_does_not_allow(tmp_path: Path) -> None:
    """freeze answers once it holds; from then on the kernel's own requests are judged, too."""
    policy = parse_policy('[[rule]]\naction = "allow"\nmodalias = "fs-ext4"\n', "policy.toml")
    with daemon(tmp_path, policy=policy) as running:
        assert running.ask("may-load", "fs-xfs")["ok"]
        assert running.ask("freeze") == {"ok": True, "error": ""}
        assert running.ask("may-load", "fs-ext4")["ok"]
        assert running.ask("may-load", "fs-xfs") == {"ok": False, "error": "denied"}
        assert len(running.told("frozen")) == 1


@pytest.mark.parametrize("words", [("load", "nic"), ("freeze",), ("may-load", "fs-ext4")])
def test_an_observing_daemon_does_none_of_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Who asks it to load or forbid is told that it only observes; other requests are answered."""
    with daemon(tmp_path, observing=True) as running:
        assert "only observes" in running.ask(*words)["error"]
        assert running.ask("status")["ok"]


def test_who_waits_and_goes_is_forgotten(tmp_path: Path) -> None:
    """A client that hangs up while it waits for a settle leaves nobody waiting, and the loop turns on."""
    with daemon(tmp_path) as running:
        running.ask("settle")
        running.fakes.loader.wanted.append("never")
        running.fakes.loader.start_jobs = lambda **_how: []  # type: ignore[method-assign]
        clients = running.service._clients
        assert clients is not None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(running.path)
            client.sendall(b"settle\n")
            while not clients._waiters._for_settle:
                time.sleep(0.01)
        while clients._waiters._for_settle:
            time.sleep(0.01)
        assert not running.ask("status")["settled"]
        running.fakes.loader.wanted.clear()
        assert running.ask("settle")["ok"]


def test_the_search_for_the_root_file_system_comes_first(tmp_path: Path) -> None:
    """`need` holds all other loads; `blocks` tells of the disk that is there; who leaves it is forgotten."""
    with daemon(tmp_path) as running:
        assert running.ask("need", "ext4") == {"ok": True}
        assert "ext4" in running.fakes.loader.wanted
        assert running.fakes.loader.holds == [Rank.FIRST]
        assert running.ask("blocks", "0", "settled")["devices"] == ["vda"]
        assert running.ask("blocks", "1", "settled") == {
            "ok": True,
            "seen": 1,
            "devices": [],
            "settled": True,
        }
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(running.path)
            client.sendall(b"blocks 1 ever\n")
            root = running.service._clients._root  # type: ignore[union-attr]
            assert root is not None
            while not root._watchers:
                time.sleep(0.01)
        while root._watchers:
            time.sleep(0.01)
        assert running.ask("status")["ok"]


def test_a_socket_for_which_there_was_no_room_is_made_later(tmp_path: Path) -> None:
    """A daemon that cannot listen goes on, says so, and is heard once its directory is there."""
    path = tmp_path / "missing" / "control"
    running = Daemon(path)
    assert running.told("warning")[0]["message"].startswith(f"cannot listen at {path}")
    clients = running.service._clients
    assert clients is not None
    assert 0 < clients.timeout_ms() <= 10_000
    path.parent.mkdir()
    clients.attend()
    assert not path.exists(), "not before its time"
    running.fakes.clock = None
    clients._listen_us = 0
    clients.attend()
    assert path.exists()
    assert clients.problem == ""
    running.thread.start()
    assert running.ask("status")["ok"]
    running.supervisor.end()
    running.thread.join(20)
