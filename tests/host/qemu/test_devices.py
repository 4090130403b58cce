"""docs/machines.md beside the parser and QEMU; devices that lack a backend, or that QEMU does not know."""

import re
import tomllib
from dataclasses import fields

import pytest

from hostbuild import main
from hostbuild.errors import InputError, UsageError
from hostbuild.qemu.catalog import Listed, parse_catalog, read_catalog, refusal, render_catalog
from hostbuild.qemu.device import _CONTROLLERS, SHORT_NAMES, Backend, full_name, parse_device
from hostbuild.qemu.machine import (
    KEYS,
    NAMED_MACHINES,
    TPMS,
    Machine,
    hardware_argv,
    machine_names,
    parse_machine,
    read_machine,
)
from hostbuild.qemu.references import REFERENCES, by_hand
from tests.host.qemu.test_machine import qemu_accepts
from tests.support.places import DOCS as DOCUMENTS

DOCS = (DOCUMENTS / "machines.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
GETS = {
    Backend.DRIVE: "a disk",
    Backend.NETDEV: "a network",
    Backend.AUDIODEV: "silence",
    Backend.CHARDEV: "a character device",
    Backend.MEMDEV: "memory",
}


def table(head: str) -> list[list[str]]:
    """The rows of the table that begins with this line."""
    rows = DOCS.partition(head + "\n")[2].partition("\n\n")[0].splitlines()[1:]
    assert rows, head
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_key_is_documented() -> None:
    """The table names the parser's keys, all of them and no other, with the defaults that it has."""
    rows = {row[0].strip("`"): row for row in table("| key | type | default | meaning |")}
    assert rows.keys() == KEYS
    written = {key: tomllib.loads(f"x = {row[2].strip('`')}")["x"] for key, row in rows.items()}
    text = "".join(f"{key} = {row[2].strip('`')}\n" for key, row in rows.items())
    assert parse_machine(text, "machine") == parse_machine("", "machine") == Machine()
    kinds = {"string": str, "number": int, "list of strings": list, "string or number": str}
    assert all(type(written[key]) is kinds[row[1]] for key, row in rows.items())
    assert len(fields(Machine)) == 12  # a new field has a key, or a reason


def test_every_machine_is_documented() -> None:
    """The table of machines has those that there are, with their own descriptions."""
    rows = {row[0].strip("`"): row[1] for row in table("| machine | what it is |")}
    assert rows == {name: read_machine(name).description for name in machine_names()}


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_machine(text: str) -> None:
    """QEMU makes the machine of each example in the documentation."""
    assert qemu_accepts(parse_machine(text, "example"))


def test_every_device_is_documented() -> None:
    """QEMU has each device of the table; it gets what the table says; the machines use no other."""
    rows = {row[0].strip("`"): row[2] for row in table("| name | what it is | what it gets |")}
    known = {word for one in read_catalog() for word in (one.name, one.alias)}
    assert rows.keys() <= known
    for name, gets in rows.items():
        device = parse_device(name)
        words = [GETS[device.backend]] if device.backend else []
        words += ["a software TPM"] if device.driver in TPMS else []
        words += ["a controller"] if device.bus in _CONTROLLERS else []
        assert gets == ", ".join(words), name
        assert by_hand(device) is None
    used = {device.driver for name in machine_names() for device in read_machine(name).devices}
    assert used <= rows.keys()
    assert NAMED_MACHINES.is_dir()


def test_every_short_name_is_documented() -> None:
    """The table has all short names, with the device that each means; QEMU has that, and calls none by a short name."""
    rows = {row[0].strip("`"): row[1].strip("`") for row in table("| short name | QEMU's name |")}
    assert rows == SHORT_NAMES
    listed = read_catalog()
    assert {one.name for one in listed} >= set(SHORT_NAMES.values())
    assert not {word for one in listed for word in (one.name, one.alias)} & SHORT_NAMES.keys()
    assert parse_device("watchdog,id=w") == parse_device("i6300esb,id=w")
    assert full_name("e1000") == "e1000"


def test_every_reference_is_documented() -> None:
    """The properties that need a key of the machine file are those of the text."""
    sentence = DOCS.partition("An id in ")[2].partition("has to")[0]
    assert set(re.findall(r"`(\w+)=`", sentence)) == REFERENCES.keys()


@pytest.mark.parametrize(
    ("device", "said", "hint"),
    [
        ("virtio-9p-pci", "it needs fsdev=ID", 'fsdevs = ["local,id=ID,path=DIRECTORY,security_model=none"]'),
        ("virtio-9p-pci,fsdev=x,mount_tag=y", "there is no fsdev 'x'", '"virtio-9p-pci,mount_tag=y,fsdev=x"'),
        ("virtio-9p-pci,fsdev=", "there is no fsdev ''", "fsdevs = "),
        ("e1000,netdev=n0", "there is no netdev 'n0'", "leave netdev= out, and a backend is made for it"),
        (
            "nvme,drive=d0",
            "there is no drive 'd0'",
            'blockdevs = ["driver=null-co,node-name=d0,size=67108864"]',
        ),
        ("virtserialport,chardev=c0", "there is no chardev 'c0'", "leave chardev= out"),
        ("AC97,audiodev=a", "there is no audiodev 'a'", "leave audiodev= out"),
        ("ivshmem-plain,memdev=m", "there is no memdev 'm'", "leave memdev= out"),
        ("virtio-blk-pci,iothread=t", "there is no iothread 't'", 'objects = ["iothread,id=t"]'),
        ("virtio-rng-pci,rng=r", "there is no rng 'r'", "rng-random,id=r"),
        ("tpm-crb,tpmdev=t", "there is no tpmdev 't'", "tpmdevs = "),
        ("virtio-crypto-pci", "it needs cryptodev=ID", "cryptodev-backend-builtin"),
        ("vhost-user-blk-pci", "it needs chardev=ID", "chardevs = "),
        ("usb-redir", "it needs chardev=ID", "chardevs = "),
    ],
)
def test_devices_that_do_not_work_alone(device: str, said: str, hint: str) -> None:
    """A device without the backend that it names, or needs, is refused before QEMU starts, with what to use instead."""
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        hardware_argv(Machine(devices=(parse_device(device),)))
    assert hint in caught.value.hint


def test_an_id_of_any_characters() -> None:
    """The id that somebody typed stands in the hint as it is."""
    with pytest.raises(UsageError) as caught:
        hardware_argv(Machine(devices=(parse_device(r"e1000,netdev=\d\1"),)))
    assert r"user,id=\d\1,restrict=on" in caught.value.hint


def test_the_hints_machine_file_works() -> None:
    """What the hint writes for a thread is a machine that QEMU makes."""
    with pytest.raises(UsageError) as caught:
        hardware_argv(Machine(devices=(parse_device("virtio-blk-pci,iothread=t"),)))
    keys = caught.value.hint.partition(" makes both: ")[2].replace("], ", "]\n")
    assert "iothread=t" in " ".join(hardware_argv(parse_machine(keys, "hint")))
    assert qemu_accepts(parse_machine(keys, "hint"))


def test_ids_are_found_in_every_form() -> None:
    """An id counts as QEMU writes it: id=, node-name=, that of a layer below, and in JSON."""
    text = """
        blockdevs = [
            '{"driver": "null-co", "node-name": "a", "size": 65536}',
            "driver=raw,node-name=b,file.driver=null-co",
        ]
        devices = ["nvme,drive=a,serial=x", "virtio-blk-pci,drive=b", "AC97,audiodev=audio0"]
    """
    assert qemu_accepts(parse_machine(text, "machine"))


def test_the_list_of_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """`run --list-devices` needs no image: a line for each device that QEMU lists, but for processors."""
    assert main.status_of(["run", "--list-devices"]) == 0
    out = capsys.readouterr().out
    listed = set(re.findall(r"(?m)^  (\S+)", out))
    everything = read_catalog()
    assert listed == {one.name for one in everything if one.section != "CPU devices"}
    assert len(listed) > 150
    assert re.search(r"(?m)^  e1000 +Intel Gigabit Ethernet; also e1000-82540em; with a closed network$", out)
    assert re.search(r"(?m)^  virtio-9p-pci .*needs fsdev=ID, in a machine file$", out)


def test_the_list_is_parsed() -> None:
    """Sections, buses, aliases and descriptions of `-device help`; a comma in a description is part of it."""
    text = 'Storage devices:\nname "a", bus PCI, alias "b", desc "x, bus y"\n\nMisc devices:\nname "c"\n'
    found = list(parse_catalog(text))
    assert found == [Listed("Storage devices", "a", "PCI", "b", "x, bus y"), Listed("Misc devices", "c")]
    assert render_catalog(found) == f"Storage devices\n  {'a':26} x, bus y; also b\n\nMisc devices\n  c"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("qemu: -device e1001: 'e1001' is not a valid device model name", "did you mean e1000"),
        ("qemu: -device usb-storge: 'usb-storge' is not a valid device model name", "usb-storage"),
        ("qemu: -device e1000,mca=x: Property 'e1000.mca' not found", "did you mean mac"),
        ("qemu: -device scsi-hd,bus=x.0: Bus 'x.0' not found", "Bus 'x.0' not found"),
    ],
)
def test_what_qemu_refuses(said: str, wanted: str) -> None:
    """QEMU's complaint about a device is the user's fault, and is answered with near names of QEMU's own."""
    error = refusal(said)
    assert isinstance(error, InputError)
    assert wanted in str(error)


def test_other_complaints_stay_what_they_are() -> None:
    """Complaints about something else than a device are nothing for this."""
    assert refusal("qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory") is None
    assert refusal("") is None


@pytest.mark.parametrize(
    ("words", "found", "missing"),
    [
        ("--device watch", "plain,watchdog", "plain,nvme"),
        ("--device virtio-net", "plain,virtio-net-pci", "plain,virtio-blk-pci"),
        ("--device nvme,ser", "plain,nvme,serial=", "plain,nvme,addr="),
        ("--device nonesuch,x", "", "plain"),
        ("--machine num", "plain,numa", "plain,q35"),
    ],
)
def test_the_shell_completes(
    words: str, found: str, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bash is given the devices that QEMU lists, their properties, the short names, and the machines."""
    line = f"hostbuild run micro.img {words}"
    monkeypatch.setenv("_HOSTBUILD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    with pytest.raises(SystemExit) as ended:
        main.status_of([])
    assert ended.value.code == 0
    out = capsys.readouterr().out.splitlines()
    assert found in (out or [""])
    assert missing not in out
