"""The network helper in a machine: links that come and go, leases from two DHCP servers that are not ours.

One is QEMU's own (a closed user network: restrict=on lets nothing out, and gives neither a gateway nor a name server).
The other is busybox's udhcpd, in the same guest, in a network namespace with a card of its own; the cards are joined
by a hub of QEMU's, from which no way leads out.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from hostbuild.image.build import BuiltImage, ImageOptions, build_image
from hostbuild.image.sources.extras import Extra
from hostbuild.qemu.device import parse_device
from hostbuild.qemu.machine import read_machine
from hostbuild.qemu.vm import VM
from tests.support.boots import vm_of

pytestmark = pytest.mark.vm

CARDS = (
    "virtio-net-pci,id=closed,mac=52:54:00:00:00:01",
    "virtio-net-pci,id=client,netdev=here,mac=52:54:00:00:00:02",
    "virtio-net-pci,id=server,netdev=there,mac=52:54:00:00:00:03",
)
HUB = (("-netdev", "hubport,id=here,hubid=1"), ("-netdev", "hubport,id=there,hubid=1"))
# The lease is so short that it is renewed within seconds.
SERVER = """
cat >/tmp/udhcpd.conf <<END
start 192.168.7.20
end 192.168.7.20
interface {card}
lease_file /tmp/udhcpd.leases
min_lease 1
option lease 8
option subnet 255.255.255.0
option router 192.168.7.99
option dns 192.168.7.1
option domain example.org
option search lab.example mail.example.org
option mtu 1450
option ntpsrv 192.168.7.9
option staticroutes 10.3.0.0/16 192.168.7.3, 192.0.2.7/32 0.0.0.0, 0.0.0.0/0 192.168.7.1
END
touch /tmp/udhcpd.leases
unshare -n sleep 1000 </dev/null >/dev/null 2>&1 &
sleep 1
ip link set {card} netns $!
nsenter -n -t $! sh -c '
    ip addr add 192.168.7.1/24 dev {card}
    ip link set {card} up
    udhcpd -f /tmp/udhcpd.conf </dev/null >/tmp/udhcpd.log 2>&1 &'
"""
AGAIN = """
nsenter -n -t $(pidof sleep) sh -c 'udhcpd -f /tmp/udhcpd.conf </dev/null >>/tmp/udhcpd.log 2>&1 &'
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    path = tmp_path_factory.mktemp("network") / "network.img"
    options = ImageOptions(kernel="deb:linux-image-amd64", modules="virtio,e1000", extras=(Extra.NETWORK,))
    return build_image(path, options)


@pytest.fixture(scope="module")
def vm(built: BuiltImage) -> Iterator[VM]:
    machine = replace(read_machine("empty"), raw=HUB).plus(map(parse_device, CARDS))
    with vm_of(built, machine, memory="256", limit_s=300) as running:
        running.settled(timeout=150)
        yield running


def said(vm: VM, line: str, times: int = 1, limit_s: float = 60.0) -> None:
    """Wait until the helper has said a line on the console so many times."""
    pattern = re.compile(rf"network: {line}")
    wait(lambda: len(pattern.findall(vm.console)) >= times, limit_s, lambda: f"{line}\n{vm.console[-3000:]}")


def wait(done: Callable[[], bool], limit_s: float, complaint: Callable[[], str]) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.1)


def card(vm: VM, address: str) -> str:
    """The name that the kernel gave to the card with this hardware address."""
    return vm.check(f"grep -l {address} /sys/class/net/*/address").split("/")[4]


def addresses(vm: VM, name: str) -> list[str]:
    """What busybox's ip shows as the link's IPv4 addresses."""
    return re.findall(r"inet (\S+)", vm.check(f"ip -4 addr show dev {name}"))


def test_a_card_that_is_there_gets_its_address(vm: VM) -> None:
    """The card is up and has the address that QEMU's server gives, and its network's route. Loopback stays as it is."""
    name = card(vm, "52:54:00:00:00:01")
    said(vm, rf"{name} has 10\.0\.2\.15/24 by DHCP, no gateway")
    assert addresses(vm, name) == ["10.0.2.15/24"]
    assert f"10.0.2.0/24 dev {name}" in vm.check("ip route")
    assert "default" not in vm.check("ip route")
    assert addresses(vm, "lo") == []
    assert "<LOOPBACK>" in vm.check("ip link show lo")


def test_the_helper_is_the_last_in_line(vm: VM) -> None:
    """Its niceness is 19, within its session and among the sessions."""
    said(vm, r"\S+ has ")
    pid = vm.check("pidof micronetd").strip()
    assert vm.check(f"cut -d' ' -f19 /proc/{pid}/stat").strip() == "19"
    assert vm.check(f"cat /proc/{pid}/autogroup").split()[-1] == "19"


def test_gateway_and_name_servers_are_set_and_the_lease_is_renewed(vm: VM) -> None:
    """udhcpd's lease comes with both; half the lease's time later udhcpd grants it again, and the link keeps it.

    Its routes stand in for its router (option 121, RFC 3442).
    """
    client, server = card(vm, "52:54:00:00:00:02"), card(vm, "52:54:00:00:00:03")
    vm.check(SERVER.format(card=server))
    said(vm, rf"{client} has 192\.168\.7\.20/24 by DHCP, gateway 192\.168\.7\.1, 2 routes more")
    assert addresses(vm, client) == ["192.168.7.20/24"]
    routes = vm.check("ip route")
    assert f"default via 192.168.7.1 dev {client}" in routes
    assert f"10.3.0.0/16 via 192.168.7.3 dev {client}" in routes
    assert f"192.0.2.7 dev {client} scope link" in routes
    assert "192.168.7.99" not in routes
    resolv_conf = vm.check("cat /etc/resolv.conf").splitlines()
    assert resolv_conf[1:] == ["search lab.example mail.example.org example.org", "nameserver 192.168.7.1"]
    assert vm.check(f"cat /sys/class/net/{client}/mtu").strip() == "1450"
    assert vm.check("cat /run/network/ntp_servers").split() == ["192.168.7.9"]
    granted = "grep -c 'sending ACK to 192.168.7.20' /tmp/udhcpd.log"
    wait(lambda: int(vm.sh(granted).output) >= 2, 30, lambda: vm.check("cat /tmp/udhcpd.log"))
    assert addresses(vm, client) == ["192.168.7.20/24"]
    vm.check("ping -c 1 -W 5 192.168.7.1")


def test_a_server_that_goes_away_takes_the_address_with_it_in_time(vm: VM) -> None:
    """First all servers are asked, then the lease ends with all that came by it; a server that is back is found."""
    client = card(vm, "52:54:00:00:00:02")
    said(vm, rf"{client} has 192\.168\.7\.20/24")
    vm.check("kill $(pidof udhcpd)")
    said(vm, rf"{client}: the DHCP server 192\.168\.7\.1 does not renew the lease; asking all servers")
    said(vm, rf"{client} no longer has 192\.168\.7\.20/24: the lease has run out")
    assert addresses(vm, client) == []
    assert "192.168.7.1" not in vm.check("ip route") + vm.check("cat /etc/resolv.conf")
    assert vm.check(f"cat /sys/class/net/{client}/mtu").strip() == "1500"
    assert addresses(vm, card(vm, "52:54:00:00:00:01")) == ["10.0.2.15/24"]
    vm.check(AGAIN)
    said(vm, rf"{client} has 192\.168\.7\.20/24", times=2)
    assert "nameserver 192.168.7.1" in vm.check("cat /etc/resolv.conf")


def test_a_helper_that_was_killed_finds_its_leases(vm: VM) -> None:
    """init starts it again; each link has its address still, once."""
    name = card(vm, "52:54:00:00:00:01")
    said(vm, rf"{name} has 10\.0\.2\.15/24")
    vm.check("kill -9 $(pidof micronetd)")
    said(vm, rf"{name} has 10\.0\.2\.15/24", times=2)
    assert addresses(vm, name) == ["10.0.2.15/24"]


def test_a_card_comes_and_goes(vm: VM) -> None:
    """A plugged card's driver is loaded, the card gets an address; unplugged, its routes and its lease are gone."""
    pid = vm.check("pidof micronetd")
    since = len(vm.ledger)
    device = vm.device_add("e1000", mac="52:54:00:00:00:04")
    vm.wait_for(lambda r: r.get("action") == "bind" and r.get("driver") == "e1000", since=since)
    name = card(vm, "52:54:00:00:00:04")
    said(vm, rf"{name} has 10\.0\.2\.15/24")
    assert addresses(vm, name) == ["10.0.2.15/24"]
    assert f"{name}.lease.json" in vm.check("ls /run/network").split()
    vm.device_del(device)
    said(vm, rf"{name} no longer has 10\.0\.2\.15/24")
    wait(lambda: f"{name}.lease" not in vm.check("ls /run/network"), 10, lambda: "the lease is still known")
    assert name not in vm.check("ip route")
    assert vm.check("pidof micronetd") == pid


def test_a_carrier_that_goes_takes_the_address_with_it(vm: VM) -> None:
    """With the cable out the address goes; with an address of somebody else's on the link, it is left alone."""
    name = card(vm, "52:54:00:00:00:01")
    said(vm, rf"{name} has 10\.0\.2\.15/24")
    vm.monitor.execute("set_link", {"name": "closed", "up": False})
    said(vm, rf"{name} no longer has 10\.0\.2\.15/24")
    assert addresses(vm, name) == []
    vm.check(f"ip addr add 10.9.9.9/24 dev {name}")
    vm.monitor.execute("set_link", {"name": "closed", "up": True})
    said(vm, rf"{name} already has an address that is not ours; leaving it alone")
    assert addresses(vm, name) == ["10.9.9.9/24"]
