"""An out-of-tree driver under hotplug: it is found, it works, and it can be pulled out under a reader."""

import pytest

from hostbuild.testing import Guest

pytestmark = pytest.mark.guest(shared=True)


def factorial(guest: Guest, node: str, number: int) -> str:
    """Return what the device makes of a number."""
    return guest.run(f"echo {number} >{node} && cat {node}").stdout.strip()


def test_it_is_loaded_for_its_device(guest: Guest) -> None:
    """The plug alone brings the module, by the driver's own table of PCI ids, and the driver binds."""
    edu = guest.plug("edu")
    bound = guest.expect_bound(edu, "edu")
    why = guest.why("edu")
    assert [asker.device.devpath for asker in why.askers] == [bound.devpath]
    assert why.askers[0].match.alias == "pci:v00001234d000011E8sv*sd*bc*sc*i*"


def test_it_computes(guest: Guest) -> None:
    """The device's result comes back, by its interrupt."""
    node = guest.expect_node(guest.plug("edu"), "/dev/edu*")
    assert factorial(guest, node, 5) == "120"
    assert factorial(guest, node, 12) == "479001600"


def test_bad_numbers_are_refused(guest: Guest) -> None:
    """What is no number is answered with EINVAL, and nothing is computed."""
    node = guest.expect_node(guest.plug("edu"), "/dev/edu*")
    tried = guest.run(f"echo five >{node}", check=False)
    assert tried.status != 0
    assert "Invalid argument" in tried.stderr


def test_two_devices_do_not_mix(guest: Guest) -> None:
    """Each device has a node of its own, and its own result."""
    first, second = (guest.expect_node(guest.plug("edu"), "/dev/edu*") for _ in range(2))
    assert first != second
    guest.run(f"exec 3<>{first} 4<>{second}; echo 3 >&3; echo 4 >&4")
    assert guest.run(f"cat {first} {second}").stdout.split() == ["6", "24"]


def test_it_is_pulled_out_under_a_reader(guest: Guest) -> None:
    """A node that is open survives its device: reads end with ENODEV, and the kernel has nothing to complain of."""
    edu = guest.plug("edu")
    node = guest.expect_node(edu, "/dev/edu*")
    # Holds the node open for as long as the file is there, and then reads.
    guest.run(
        f"touch /run/hold; (exec 3<{node}; while [ -e /run/hold ]; do sleep 0.1; done; cat <&3) "
        ">/run/said 2>&1 & sleep 0.5"
    )
    guest.unplug(edu)
    guest.run("rm /run/hold; sleep 1")
    assert "No such device" in guest.run("cat /run/said").stdout
    guest.expect_healthy()


def test_it_comes_back(guest: Guest) -> None:
    """Five plugs and unplugs later the driver still binds, and no number of a node is lost."""
    for _ in range(5):
        edu = guest.plug("edu")
        assert guest.expect_node(edu, "/dev/edu*") == "/dev/edu0"
        guest.unplug(edu)
    guest.expect_healthy()
