"""Modaliases to ask for: patterns made concrete, everything in pci.ids and usb.ids, mixes as machines show
them."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

PCI_IDS = Path("/usr/share/misc/pci.ids")
USB_IDS = Path("/usr/share/misc/usb.ids")
HEX = "0123456789ABCDEF"
PCI_CLASSES = (
    "bc01sc06i01",
    "bc01sc08i02",
    "bc02sc00i00",
    "bc03sc00i00",
    "bc04sc03i00",
    "bc06sc04i00",
    "bc0Csc03i30",
)
USB_INTERFACES = (
    "ic03isc01ip01",
    "ic08isc06ip50",
    "ic09isc00ip00",
    "icE0isc01ip01",
    "ic0Eisc01ip00",
    "icFFiscFFipFF",
)


def concrete(pattern: bytes, chance: random.Random, filler: str = HEX) -> bytes:
    """A string that the pattern matches, or nearly: wildcards filled, one member of each set chosen."""
    out = bytearray()
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            out += "".join(chance.choices(filler, k=chance.choice((0, 1, 2, 4, 8)))).encode()
        elif byte == b"?":
            out += chance.choice(filler).encode()
        elif byte == b"[" and b"]" in pattern[at:]:
            end = pattern.index(b"]", at)
            out.append(chance.choice(pattern[at:end]))
            at = end + 1
        else:
            out += byte
    return bytes(out)


def spoiled(modalias: bytes, chance: random.Random) -> bytes:
    """The string with one byte changed, left out or doubled."""
    if not modalias:
        return b"x"
    at = chance.randrange(len(modalias))
    middle = chance.choice((b"", b"-", b"_", b"0", b"C", b":", modalias[at : at + 1] * 2, b"\xff"))
    return modalias[:at] + middle + modalias[at + 1 :]


def _id_lines(path: Path) -> Iterator[tuple[str, ...]]:
    """(vendor, device) and (vendor, device, subvendor, subdevice) of an ids file, in capitals."""
    vendor = device = ""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if line.startswith("C "):
                return
            words = line.split()
            if line.startswith("#") or not words:
                continue
            if line.startswith("\t\t"):
                if len(words) > 1 and len(words[0]) == len(words[1]) == 4:
                    yield vendor, device, words[0].upper(), words[1].upper()
            elif line.startswith("\t"):
                device = words[0].upper()
                yield vendor, device
            else:
                vendor = words[0].upper()


def pci_modaliases(chance: random.Random) -> Iterator[bytes]:
    """One for every device and every subsystem of pci.ids."""
    for vendor, device, *sub in _id_lines(PCI_IDS):
        sub_vendor, sub_device = sub or (vendor, f"{chance.randrange(65536):04X}")
        ids = f"v0000{vendor}d0000{device}sv0000{sub_vendor}sd0000{sub_device}"
        yield f"pci:{ids}{chance.choice(PCI_CLASSES)}".encode()


def usb_modaliases(chance: random.Random) -> Iterator[bytes]:
    """One for every device of usb.ids."""
    for vendor, device, *_ in _id_lines(USB_IDS):
        interface = f"{chance.choice(USB_INTERFACES)}in{chance.randrange(4):02X}"
        ids = f"v{vendor}p{device}d{chance.randrange(0x1000):04X}dc00dsc00dp00"
        yield f"usb:{ids}{interface}".encode()


def hid_modalias(chance: random.Random) -> bytes:
    """A HID device's."""
    bus = chance.choice(("0003", "0003", "0005", "0018"))
    vendor, device, *_ = chance.choice(_USB)
    return f"hid:b{bus}g{chance.choice(('0001', '0102', '0104'))}v0000{vendor}p0000{device}".encode()


def input_modalias(chance: random.Random) -> bytes:
    """An input device's: bus, ids, and the lists of what it can do."""
    vendor, device, *_ = chance.choice(_USB)
    kinds = sorted(chance.sample(("0", "1", "2", "3", "4", "11", "14"), 4), key=lambda n: int(n, 16))
    keys = sorted(
        {f"{chance.randrange(0x2FF):X}" for _ in range(chance.randrange(40))}, key=lambda n: int(n, 16)
    )
    head = f"input:b{chance.choice(('0003', '0011', '0019'))}v{vendor}p{device}e0111-e{','.join(kinds)},"
    return (
        f"{head}k{''.join(key + ',' for key in keys)}ra{chance.choice(('', '0,1,', '28,'))}m4,lsfw".encode()
    )


def acpi_modalias(chance: random.Random) -> bytes:
    """An ACPI device's, one or two ids."""
    names = (
        "PNP0C50",
        "PNP0303",
        "PNP0C0A",
        "INT33A1",
        "INTC1085",
        "AMDI0010",
        "ACPI0003",
        "LEN0071",
        "ELAN0001",
    )
    own = "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=4)) + "".join(chance.choices(HEX, k=4))
    return f"acpi:{':'.join(chance.sample((*names, own), chance.choice((1, 2))))}:".encode()


def dmi_modalias(chance: random.Random) -> bytes:
    """A machine's."""
    maker = chance.choice(
        ("DellInc.", "LENOVO", "HP", "ASUSTeKCOMPUTERINC.", "Acer", "MicrosoftCorporation", "QEMU")
    )
    word = "".join(chance.choices("ABCDEFGHKLMNPRSTUVWX0123456789", k=chance.randrange(4, 14)))
    return (
        f"dmi:bvn{maker}:bvr{word}.{chance.randrange(99)}:bd0{chance.randrange(1, 10)}/12/20{chance.randrange(10, 24)}:"
        f"br5.{chance.randrange(30)}:svn{maker}:pn{word}:pvrNotSpecified:rvn{maker}:rn{word[::-1]}:rvr1.0:cvn{maker}:"
        f"ct{chance.randrange(3, 32)}:cvr:sku{word[:3]}:"
    ).encode()


def cpu_modalias(chance: random.Random) -> bytes:
    """An x86 processor's: vendor, family, model and a long list of features."""
    features = sorted(chance.sample(range(0x280), chance.randrange(90, 240)))
    model = (
        f"ven000{chance.choice('02')}fam00{chance.choice(('06', '17', '19'))}mod00{chance.randrange(256):02X}"
    )
    return f"cpu:type:x86,{model}:feature:,{','.join(f'{n:04X}' for n in features)}".encode()


def of_modalias(chance: random.Random) -> bytes:
    """A device tree node's: name, type, one to four compatibles."""
    makers = ("fsl", "rockchip", "allwinner", "brcm", "ti", "nxp", "atmel", "arm", "qcom", "snps")
    parts = ("adc", "i2c", "uart", "gpio", "usb-phy", "pwm", "rtc", "ethernet-mac", "tsadc", "vop")
    chips = ("imx6q", "imx8mm", "rk3399", "sun8i-h3", "bcm2835", "am335x", "sama5d2", "dwc2")
    compatibles = [
        f"C{chance.choice(makers)},{chance.choice(chips)}-{chance.choice(parts)}"
        for _ in range(chance.randrange(1, 5))
    ]
    return f"of:N{chance.choice(parts)}T(null){''.join(compatibles)}".encode()


def name_modalias(chance: random.Random) -> bytes:
    """One that is a mere name: platform, i2c, spi, auxiliary devices."""
    bus = chance.choice(("platform", "platform", "i2c", "spi", "auxiliary", "mdev"))
    names = (
        "rtc_cmos",
        "pcspkr",
        "alarmtimer",
        "i8042",
        "24c02",
        "spi-nor",
        "coretemp",
        "serial8250",
        "regulatory",
    )
    return f"{bus}:{chance.choice(names)}{chance.choice(('', '', '-1', '.auto'))}".encode()


def other_modalias(chance: random.Random) -> bytes:
    """One of the small buses."""
    number = "".join(chance.choices(HEX, k=8))
    return chance.choice(
        (
            f"wmi:{number}-4B12-11D1-9D4C-00A0C9{number[:6]}",
            f"serio:ty0{chance.choice('1268')}pr{number[:2]}id00ex00",
            f"virtio:d000000{number[0]}{number[1]}v00001AF4",
            f"hdaudio:v10EC0{number[:3]}r0010000{number[4]}a01",
            f"sdio:c00v02D0d{number[:4]}",
            f"pnp:dPNP0{number[:3]}",
            f"mei::{number.lower()}-9a29-4916-badf-0fb7ed682aeb:01:",
            f"scsi:t-0x0{number[0]}",
            f"mdio:{''.join(chance.choices('01', k=32))}",
        )
    ).encode()


# Their shares of what real machines show.
SHARES = (
    (hid_modalias, 7),
    (input_modalias, 17),
    (acpi_modalias, 6),
    (dmi_modalias, 6),
    (of_modalias, 5),
    (cpu_modalias, 1),
    (name_modalias, 4),
    (other_modalias, 3),
)
PCI_SHARE, USB_SHARE = 36, 15
_USB = tuple(_id_lines(USB_IDS)) if USB_IDS.exists() else (("1D6B", "0002"),)


def machine_mix(patterns: list[bytes], count: int, seed: int) -> list[bytes]:
    """`count` distinct modaliases in the shares of real machines; a third of each kind is made from a pattern."""
    chance = random.Random(seed)
    kinds = {
        b"pci": (list(pci_modaliases(chance)), PCI_SHARE),
        b"usb": (list(usb_modaliases(chance)), USB_SHARE),
    }
    by_bus: dict[bytes, list[bytes]] = {}
    for pattern in patterns:
        by_bus.setdefault(pattern.partition(b":")[0].rstrip(b"*"), []).append(pattern)
    shares = sum(share for _, share in SHARES) + PCI_SHARE + USB_SHARE
    mix: dict[bytes, None] = {}
    for known, share in kinds.values():
        mix.update(dict.fromkeys(chance.sample(known, min(len(known), count * share // shares))))
    for make, share in SHARES:
        for _ in range(count * share // shares):
            made = make(chance)
            candidates = by_bus.get(made.partition(b":")[0], [])
            mix[
                concrete(chance.choice(candidates), chance)
                if candidates and chance.random() < 1 / 3
                else made
            ] = None
    everything = list(mix)
    chance.shuffle(everything)
    return everything


# Buses whose aliases hold hexadecimal ids; all others have names.
WITH_IDS = (b"pci", b"usb", b"hid", b"hdaudio", b"pcmcia", b"acpi", b"sdio", b"input", b"pnp", b"wmi", b"cpu")
_SET = rb"\[[^]]*\]"
_IDS = re.compile(_SET + rb"|-e\*[0-9A-F]+,|[0-9A-F]+")
# Not the names of fields: what stands between a colon or the beginning and a star, and what follows a star.
_NAMES = re.compile(_SET + rb"|(?:^|:)[a-z]+(?=\*)|\*[a-z]|[0-9]+|[a-z]+")


def widened(modules_alias: bytes, times: int) -> bytes:
    """A modules.alias `times` as long in the same shape: each line again, about other devices.

    Where a bus has ids, their hexadecimal digits change, but not zeros that fill a field up, sets, and the types of
    input events, which say what kind of list follows; where it has names (of, i2c, dmi...), small letters and digits
    change, but not what names a field. Lines that come out twice stand once.
    """
    chance = random.Random(times)

    def other_id(found: re.Match[bytes]) -> bytes:
        text = found.group()
        digits = text.lstrip(b"0")
        if not text.isalnum() or not digits:
            return text
        changed = chance.choice(HEX[1:]) + "".join(chance.choices(HEX, k=len(digits) - 1))
        return text[: len(text) - len(digits)] + changed.encode()

    def other_name(found: re.Match[bytes]) -> bytes:
        text = found.group()
        names_field = not found.start() and found.string[found.end() : found.end() + 1] == b"*"
        if names_field or text[:1] in {b"[", b":", b"*"}:
            return text
        letters = "0123456789" if text.isdigit() else "abcdefghijklmnopqrstuvwxyz"
        return "".join(chance.choices(letters, k=len(text))).encode()

    lines = modules_alias.splitlines()
    made = []
    for line in lines:
        if not line.startswith(b"alias "):
            continue
        pattern, _, module = line[6:].rpartition(b" ")
        head, colon, rest = pattern.partition(b":")
        for _ in range(times - 1):
            ids = head.startswith(WITH_IDS)
            changed = _IDS.sub(other_id, rest) if ids else _NAMES.sub(other_name, rest or head)
            made.append(b"alias " + (head + colon + changed if colon else changed) + b" " + module)
    return b"\n".join(dict.fromkeys([*lines, *made])) + b"\n"
