"""The network helper asked by the kernel's command line: addresses of its own, several cards, VLANs, routers' servers.

The other ends are in the same guest, in a network namespace with cards of its own, joined to the client's by hubs of
QEMU's, from which no way leads out.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of
from tests.vm.test_network import addresses, card, said, wait

pytestmark = pytest.mark.vm

# eth0 to eth3, in the order of their ports.
CARDS = (
    "virtio-net-pci,id=first,bus=rp0,netdev=here,mac=52:54:00:00:00:01",
    "virtio-net-pci,id=second,bus=rp1,mac=52:54:00:00:00:02",
    "virtio-net-pci,id=third,bus=rp2,mac=52:54:00:00:00:03",
    "virtio-net-pci,id=other,bus=rp3,netdev=there,mac=52:54:00:00:00:09",
)
HUB = (("-netdev", "hubport,id=here,hubid=1"), ("-netdev", "hubport,id=there,hubid=1"))
WORDS = (
    "ip=10.7.0.5::10.7.0.1:255.255.255.0:box.lab:eth0:off:10.7.0.53::10.7.0.123 "
    "ip=[2001:db8:7::5]::[2001:db8:7::1]:64::eth0:none:1400 "
    "ip=eth1:dhcp "
    "vlan=eth0.5:eth0 ip=10.5.0.5:::24::eth0.5:off "
    "nameserver=192.0.2.53 ip=eth1:dchp"
)
# A router (RFC 4861, 4.2) that says which name server and which domain there are, for 60 s or for none.
ROUTER = """
import socket, struct, sys
seconds = int(sys.argv[2])
name = b"\\3lab\\7example\\0".ljust(16, b"\\0")
server = socket.inet_pton(socket.AF_INET6, "2001:db8:7::53")
message = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)
message += struct.pack(">BBHI", 25, 3, 0, seconds) + server + struct.pack(">BBHI", 31, 3, 0, seconds) + name
sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
sock.setsockopt(socket.IPPROTO_IPV6, 18, 255)  # IPV6_MULTICAST_HOPS
sock.sendto(message, ("ff02::1", 0, 0, socket.if_nametoindex(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    path = tmp_path_factory.mktemp("network") / "network.img"
    options = ImageOptions(kernel="deb:linux-image-amd64", modules="virtio", extras=(Extra.NETWORK,))
    return build_image(path, options)


@pytest.fixture(scope="module")
def vm(built: BuiltImage) -> Iterator[VM]:
    machine = replace(read_machine("empty"), raw=HUB).plus(map(parse_device, CARDS))
    with vm_of(built, machine, memory="256", append=WORDS, limit_s=300) as running:
        running.settled(timeout=150)
        yield running


@pytest.fixture(scope="module")
def other(vm: VM) -> str:
    """What runs a command at the other end, which has 10.7.0.1, and 10.5.0.1 in VLAN 5."""
    name = card(vm, "52:54:00:00:00:09")
    assert name == "eth3"
    vm.check("unshare -n sleep 1000 </dev/null >/dev/null 2>&1 & sleep 1")
    pid = vm.check("pidof sleep").split()[0]
    inside = f"nsenter -n -t {pid}"
    vm.check(f"ip link set {name} netns {pid}")
    for command in (
        f"ip link set {name} up",
        f"ip addr add 10.7.0.1/24 dev {name}",
        f"ip link add link {name} name v5 type vlan id 5",
        "ip link set v5 up",
        "ip addr add 10.5.0.1/24 dev v5",
    ):
        vm.check(f"{inside} {command}")
    return inside


def test_a_card_has_the_address_that_the_command_line_gives(vm: VM) -> None:
    """Both of IPv4 and IPv6, with gateways, name servers, the MTU and the host's name; a bad word is told of."""
    said(vm, r"eth0 has 10\.7\.0\.5/24 by ip=, gateway 10\.7\.0\.1")
    said(vm, r"eth0 has 2001:db8:7::5/64 by ip= \(IPv6\), gateway 2001:db8:7::1, MTU 1400")
    said(vm, r"`ip=eth1:dchp` is ignored: expected CARD:METHOD")
    assert addresses(vm, "eth0") == ["10.7.0.5/24"]
    assert "default via 10.7.0.1 dev eth0" in vm.check("ip route")
    assert "2001:db8:7::5/64" in vm.check("ip -6 addr show dev eth0")
    assert "default via 2001:db8:7::1 dev eth0" in vm.check("ip -6 route")
    assert vm.check("cat /sys/class/net/eth0/mtu").strip() == "1400"
    assert vm.check("hostname").strip() == "box"
    lines = vm.check("cat /etc/resolv.conf").splitlines()
    assert lines[1:3] == ["nameserver 192.0.2.53", "nameserver 10.7.0.53"]
    assert vm.check("cat /run/network/ntp_servers").split() == ["10.7.0.123"]


def test_a_second_card_has_its_own_word_and_a_third_none(vm: VM) -> None:
    """eth1 leases; eth2, which no word is for, is not even set up."""
    said(vm, r"eth1 has 10\.0\.2\.15/24 by DHCP")
    assert addresses(vm, "eth1") == ["10.0.2.15/24"]
    assert "UP" not in vm.check("ip link show eth2").split(">")[0]


@pytest.mark.usefixtures("other")
def test_a_vlan_is_made_and_reaches_its_other_end(vm: VM) -> None:
    """The module 8021q is loaded for it; its frames have the number, or the other end would not answer."""
    said(vm, r"eth0\.5 has 10\.5\.0\.5/24 by ip=")
    vm.check("ping -c 1 -W 5 10.5.0.1")
    vm.check("ping -c 1 -W 5 10.7.0.1")
    assert "8021q" in vm.check("cat /proc/modules")


def test_routers_name_servers_come_and_go(vm: VM, other: str) -> None:
    """A router's name server and domain are in resolv.conf while they count, beside those of the command line."""
    vm.check(f"cat >/tmp/router.py <<'END'\n{ROUTER}\nEND")
    theirs = "eth3"  # the one card in that namespace
    wait(
        lambda: "tentative" not in vm.check(f"{other} ip -6 addr show dev {theirs}"), 30, lambda: "no address"
    )
    vm.check(f"{other} python3 /tmp/router.py {theirs} 60")
    said(vm, r"eth0 has name servers by router advertisement: 2001:db8:7::53")
    assert vm.check("cat /etc/resolv.conf").splitlines()[1:] == [
        "search lab.example",
        "nameserver 192.0.2.53",
        "nameserver 10.7.0.53",
        "nameserver 2001:db8:7::53",
    ]
    vm.check(f"{other} python3 /tmp/router.py {theirs} 0")
    wait(lambda: "2001" not in vm.check("cat /etc/resolv.conf"), 15, lambda: vm.check("cat /etc/resolv.conf"))


def test_a_helper_that_was_killed_takes_its_addresses_for_its_own(vm: VM) -> None:
    """init starts it again: each link has what it had, once; the VLAN that is there is no mistake."""
    line = "eth0 has 10.7.0.5/24"
    before = vm.console.count(line)
    vm.check("kill -9 $(pidof micronetd)")
    said(vm, re.escape(line), times=before + 1)
    said(vm, r"eth0\.5 has 10\.5\.0\.5/24", times=before + 1)
    assert addresses(vm, "eth0") == ["10.7.0.5/24"]
    assert "cannot" not in vm.console
    assert "leaving it alone" not in vm.console


@pytest.mark.usefixtures("other")
def test_an_unplugged_card_takes_only_its_own_along(vm: VM) -> None:
    """Its address, route, name server and VLAN go; the second card's address stays; plugged again, all is back."""
    line = "eth0 has 10.7.0.5/24"
    before = vm.console.count(line)
    vm.device_del("first")
    said(vm, r"eth0 no longer has 10\.7\.0\.5/24")
    said(vm, r"eth0\.5 no longer has 10\.5\.0\.5/24")
    wait(lambda: "10.7.0.53" not in vm.check("cat /etc/resolv.conf"), 10, lambda: "the server is still there")
    assert vm.check("cat /etc/resolv.conf").splitlines()[1:] == ["nameserver 192.0.2.53"]
    assert vm.check("cat /run/network/ntp_servers") == ""
    assert "eth0" not in vm.check("ip route") + vm.check("ip -6 route") + vm.check("ls /sys/class/net")
    assert addresses(vm, "eth1") == ["10.0.2.15/24"]
    vm.device_add("virtio-net-pci", bus="rp0", netdev="here", mac="52:54:00:00:00:01")
    said(vm, re.escape(line), times=before + 1)
    said(vm, r"eth0\.5 has 10\.5\.0\.5/24", times=before + 1)
    assert "default via 10.7.0.1 dev eth0" in vm.check("ip route")
    vm.check("ping -c 1 -W 5 10.5.0.1")
