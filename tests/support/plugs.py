"""The kinds of devices that tests plug in while a machine runs: what QEMU calls them, what has to come of each.

docs/hotplug.md has the same table; tests/vm/test_hotplug_matrix.py holds the two against each other.
"""

from dataclasses import dataclass

from hostbuild.qemu.vm import VM


@dataclass(frozen=True, slots=True)
class Plug:
    """A kind of device. module: loaded for it; driver: bound in the end, by the name that sysfs has.

    bus: QEMU's bus to plug it into, "" for a free PCI port. properties: further ones, as QEMU's -device.
    attach: QEMU leaves it unplugged at first, so that disks can be put on it (docs/system/devices/usb.rst).
    """

    device: str
    module: str
    driver: str
    bus: str = ""
    properties: tuple[tuple[str, str], ...] = ()
    attach: bool = False


# Behind a pcie-root-port of a q35.
PCI_EXPRESS = (
    Plug("virtio-blk-pci", "virtio_blk", "virtio_blk"),
    Plug("virtio-net-pci", "virtio_net", "virtio_net"),
    Plug("virtio-rng-pci", "virtio_rng", "virtio_rng"),
    Plug("virtio-balloon-pci", "virtio_balloon", "virtio_balloon"),
    Plug("virtio-serial-pci", "virtio_console", "virtio_console"),
    Plug("virtio-scsi-pci", "virtio_scsi", "virtio_scsi"),
    Plug("virtio-keyboard-pci", "virtio_input", "virtio_input"),
    Plug("nvme", "nvme", "nvme", properties=(("serial", "hot"),)),
    Plug("e1000", "e1000", "e1000"),
    Plug("e1000e", "e1000e", "e1000e"),
    Plug("rtl8139", "8139cp", "8139cp"),
    Plug("vmxnet3", "vmxnet3", "vmxnet3"),
    Plug("megasas", "megaraid_sas", "megaraid_sas"),
    Plug("mptsas1068", "mptsas", "mptsas"),
    Plug("pvscsi", "vmw_pvscsi", "vmw_pvscsi"),
    Plug("sdhci-pci", "sdhci_pci", "sdhci-pci"),
    Plug("AC97", "snd_intel8x0", "snd_intel8x0"),
    Plug("i6300esb", "i6300esb", "i6300ESB timer"),
    Plug("am53c974", "am53c974", "am53c974"),
    Plug("pvpanic-pci", "pvpanic_pci", "pvpanic-pci"),
    Plug("usb-ehci", "ehci_pci", "ehci-pci"),
    Plug("piix3-usb-uhci", "uhci_hcd", "uhci_hcd"),
)
# On the xhci controller that was there at the boot.
USB = (
    Plug("usb-storage", "usb_storage", "usb-storage", "xhci.0"),
    Plug("usb-kbd", "usbhid", "usbhid", "xhci.0"),
    Plug("usb-audio", "snd_usb_audio", "snd-usb-audio", "xhci.0"),
    Plug("usb-net", "cdc_ether", "cdc_ether", "xhci.0"),
    Plug("usb-serial", "ftdi_sio", "ftdi_sio", "xhci.0", (("always-plugged", "on"),)),
    Plug("usb-wacom-tablet", "wacom", "wacom", "xhci.0"),
    Plug("usb-uas", "uas", "uas", "xhci.0", attach=True),
)
# On the virtio-scsi controller that was there at the boot.
SCSI = (
    Plug("scsi-hd", "sd_mod", "sd", "scsi0.0"),
    Plug("scsi-cd", "sr_mod", "sr", "scsi0.0"),
)
# Behind a root port, last of all, and not taken out: Linux 6.1 does not let these go under QEMU 7.2.
STAYS = (
    Plug("ich9-intel-hda", "snd_hda_intel", "snd_hda_intel"),
    Plug("qemu-xhci", "xhci_pci", "xhci_hcd"),
)
# In a slot of an i440fx, by ACPI.
OLD_PCI = (
    Plug("lsi53c895a", "sym53c8xx", "sym53c8xx"),
    Plug("ne2k_pci", "ne2k_pci", "ne2k-pci"),
    Plug("pcnet", "pcnet32", "pcnet32"),
    Plug("tulip", "tulip", "tulip"),
    Plug("i82559er", "e100", "e100"),
    Plug("ES1370", "snd_ens1370", "snd_ens1370"),
    Plug("e1000", "e1000", "e1000"),
    Plug("virtio-blk-pci", "virtio_blk", "virtio_blk"),
)


def plug(vm: VM, kind: Plug, bus: str = "") -> str:
    """Plug a device of the kind in, and give its id. bus: where a PCI device goes, "" for the first free port."""
    device_id = vm.device_add(kind.device, bus=kind.bus or bus, **dict(kind.properties))
    if kind.attach:
        path = f"/machine/peripheral/{device_id}"
        vm.monitor.execute("qom-set", {"path": path, "property": "attached", "value": True})
    return device_id
