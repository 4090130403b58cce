"""A board as its device tree has it, in the form of a capture: what asks for modules before it has booted. Pure."""

from hostbuild.formats.devicetree.blob import Node
from hostbuild.formats.devicetree.devices import devices_of
from hostbuild.predict.capture import Capture, Captured, CaptureKind, make_capture
from modaliasd.core.device import Device

_TREE = "/firmware/devicetree/base"  # where a kernel shows it below /sys (drivers/of/kobj.c)


def capture_of_tree(root: Node) -> Capture:
    """Return the devices of a tree; each stands where its node does, none has a driver."""
    devices = [
        Captured(Device(f"{_TREE}{one.path}", one.subsystem, one.modalias, of_node=one.path))
        for one in devices_of(root)
    ]
    return make_capture(CaptureKind.DEVICETREE, "", devices)
