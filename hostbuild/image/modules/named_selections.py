"""The named selections of modules. Data only: names and globs, which a kernel may have or not.

What these depend on, and their softdeps, come from the kernel's own indexes, so only what a device, a mount
or the kernel itself asks for stands here. Sizes are those of Debian's kernel 6.1, where they decided.
"""

from hostbuild.arch import Arch

_VIRTIO = (
    "virtio_*",
    "-virtio_gpu",  # drm brings 2 MB
    "-virtio_snd",  # and sound 0.7 MB; `qemu` has both
    "nd_virtio",
    "i2c-virtio",
    "gpio-virtio",
    "vmw_vsock_virtio_transport",
    "9p",
    "9pnet_virtio",
    "virtiofs",
)

_STORAGE = (
    "nvme",
    "ahci",
    "ata_generic",
    "ata_piix",
    "pata_cmd64x",
    "pata_via",
    "sata_sil",
    "sd_mod",
    "sr_mod",
    "sg",
    "st",
    "am53c974",
    "megaraid_sas",
    "mptsas",
    "mptspi",
    "sym53c8xx",
    "vmw_pvscsi",
    "ufshcd-pci",
    "sdhci-pci",
    "mmc_block",
    "nfit",
    "nd_pmem",
    "loop",
    "scsi_debug",  # disks without hardware, for tests
)

_NETWORK = (
    "8139cp",
    "8139too",
    "e100",
    "e1000",
    "e1000e",
    "igb",
    "igbvf",
    "ne2k-pci",
    "pcnet32",
    "tulip",
    "vmxnet3",
    "ctucanfd_pci",
    "kvaser_pci",
    "plx_pci",
    "dummy",
    "tun",
)

_USB = (
    "ehci-pci",
    "ohci-pci",
    "uhci-hcd",
    "xhci-pci",
    "usb-storage",
    "uas",
    "usbhid",
    "hid-generic",
    "wacom",
    "cdc_ether",
    "cdc_subset",
    "rndis_host",
    "cdc-acm",
    "ftdi_sio",
    "snd-usb-audio",
)

_SOUND = (
    "snd-hda-intel",
    "snd-hda-codec-generic",
    "snd-intel8x0",
    "snd-ens1370",
    "virtio_snd",
)

_BOARD = (
    "i6300esb",
    "ipmi_si",
    "ipmi_devintf",
    "qemu_fw_cfg",
    "pvpanic-mmio",
    "pvpanic-pci",
    "vmgenid",
    "tpm_crb",
    "tpm_tis",
    "8250_pci",
    "button",
    "evdev",
    "joydev",
    "mousedev",
    "psmouse",
    "serio_raw",
    "shpchp",
)

# Memory that comes as a device.
_MEMORY = (
    "cxl_acpi",
    "cxl_mem",
    "cxl_pci",
    "cxl_pmem",
    "dax_hmem",
    "device_dax",
)

_FILESYSTEMS = (
    "configfs",
    "erofs",
    "ext4",
    "fuse",
    "isofs",
    "overlay",
    "squashfs",
    "vfat",
    # what vfat and isofs ask for by name when they mount
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_utf8",
)

# What a CPU's alias asks for, and file systems ask of the crypto layer.
_CRYPTO = (
    "crc32c_generic",
    "crct10dif_generic",
)

# What only machines of an architecture have, and the code of their processors' for the crypto layer.
_ONLY: dict[Arch, tuple[str, ...]] = {
    Arch.AMD64: (
        "i2c-i801",
        "i2c-piix4",
        "lpc_ich",
        "iTCO_wdt",
        "ib700wdt",
        "parport_pc",
        "lp",
        "pcspkr",
        "rtc-cmos",
        "floppy",
        "aesni-intel",
        "crc32-pclmul",
        "crc32c-intel",
        "crct10dif-pclmul",
        "ghash-clmulni-intel",
        "polyval-clmulni",
        "sha*-ssse3",
    ),
    Arch.ARM64: (
        "aes-ce-*",
        "aes-neon-*",
        "crct10dif-ce",
        "ghash-ce",
        "gpio_keys",  # the power button
        "polyval-ce",
        "sha*-arm64",
        "sha*-ce",
    ),
    Arch.RISCV64: ("goldfish_rtc",),
}

# What root file systems lie on and are, for --with root. f2fs and the like are taken by name.
_ROOT = (
    *_FILESYSTEMS,
    "9p",
    "9pnet_virtio",
    "btrfs",
    "loop",
    "virtiofs",
    "xfs",
)

# What lies below root file systems, for --with md, lvm and luks: levels and targets are asked for by name, and ciphers
# by what the header of a disk says.
_MD = (
    "md-mod",
    "linear",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
)
_LVM = (
    "dm-mod",
    "dm-mirror",
    "dm-raid",
    "dm-snapshot",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
)
_LUKS = (
    "dm-mod",
    "dm-crypt",
    "algif_skcipher",  # cryptsetup has the kernel open a header's key slots
    "xts",
    "cbc",
    "ecb",
    "essiv",
    "aes*",
    "sha256*",
    "sha512*",
    "sha*-ssse3",
    "adiantum",
    "chacha*",
    "nhpoly1305*",
    "serpent*",
    "twofish*",
)

_DISPLAY = (
    "bochs",
    "cirrus",
    "qxl",
    "virtio_gpu",
)

# What the network helper asks the kernel for, with --with network: VLANs, and sockets for DHCP.
_HELPER = (
    "8021q",
    "af_packet",
)

NAMED: dict[str, tuple[str, ...]] = {
    "all": ("*",),
    "none": (),
    "virtio": _VIRTIO,
    "network": _HELPER,
    "root": _ROOT,
    "md": _MD,
    "lvm": _LVM,
    "luks": _LUKS,
    "qemu": (
        *_VIRTIO,
        *_STORAGE,
        *_NETWORK,
        *_USB,
        *_SOUND,
        *_BOARD,
        *_MEMORY,
        *_FILESYSTEMS,
        *_CRYPTO,
        *_DISPLAY,
    ),
}


def named_selection(word: str, arch: Arch) -> tuple[str, ...]:
    """Give the names and globs of a named selection, for an architecture's kernels."""
    return (*NAMED[word], *_ONLY[arch]) if word == "qemu" else NAMED[word]
