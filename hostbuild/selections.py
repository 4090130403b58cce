"""The named selections of modules. Data only: names and globs, which kernels may have or not.

Dependencies, softdeps and what is built in come from the kernel's own indexes, so only what a device or a
mount asks for stands here. The sizes are of Debian's 6.1 kernel.
"""

_VIRTIO = (
    "virtio_*",
    "vmw_vsock_virtio_transport",
    "vsock",
    "virtiofs",
    "9pnet_virtio",
    "9p",
    "nd_virtio",
    "virtio_pmem",
    "i2c-virtio",
    "gpio-virtio",
    "-virtio_gpu",  # drm brings 1.3 MB; `qemu` has it
    "-virtio_snd",
)

_STORAGE = (
    "nvme",
    "ahci",
    "ata_piix",
    "ata_generic",
    "pata_acpi",
    "sata_sil24",  # none of QEMU's, but common in assigned hardware and 20 kB
    "sd_mod",
    "sr_mod",
    "sg",
    "st",
    "ses",
    "mptspi",
    "mptsas",
    "megaraid_sas",
    "sym53c8xx",
    "vmw_pvscsi",
    "am53c974",
    "scsi_debug",
    "loop",
    "nbd",
    "floppy",
    "dm-mod",
    "dm-verity",
    "dm-crypt",
    "ufshcd-pci",
)

_NETWORK = (
    "e100",
    "e1000",
    "e1000e",
    "igb",
    "igbvf",
    "8139cp",
    "8139too",
    "vmxnet3",
    "tulip",
    "pcnet32",
    "ne2k-pci",
    "dummy",
    "tun",
    "veth",
    "bridge",
    "8021q",
    "af_packet",
)

_USB = (
    "xhci-pci",
    "ehci-pci",
    "uhci-hcd",
    "ohci-pci",
    "usb-storage",
    "uas",
    "usbhid",
    "hid-generic",
    "wacom",
    "cdc_ether",
    "cdc_subset",
    "rndis_host",
    "cdc-acm",
    "usbserial",
    "ftdi_sio",
    "snd-usb-audio",
    "usbip-host",
    "vhci-hcd",
    "-usbip-host",
    "-vhci-hcd",
)

_SOUND = (
    "snd-hda-intel",
    "snd-hda-codec-generic",
    "snd-intel8x0",
    "snd-ens1370",
    "snd-pcm",
    "snd-seq",
    "snd-hrtimer",
    "pcspkr",
)

_BOARD = (
    "i2c-i801",
    "i2c-piix4",
    "i2c-smbus",
    "lpc_ich",
    "iTCO_wdt",
    "i6300esb",
    "ib700wdt",
    "qemu_fw_cfg",
    "pvpanic*",
    "sdhci-pci",
    "mmc_block",
    "ipmi_si",
    "ipmi_devintf",
    "tpm_tis",
    "tpm_crb",
    "button",
    "evdev",
    "joydev",
    "mousedev",
    "psmouse",
    "serio_raw",
    "uinput",
    "parport_pc",
    "lp",
    "rtc-cmos",
    "serial_*",
    "8250_pci",
    "nd_pmem",
    "nfit",
    "shpchp",
    "acpiphp*",
    "ccp",
    "edac_mce_amd",
    "-edac_mce_amd",
)

_FILESYSTEMS = (
    "ext4",
    "vfat",
    "isofs",
    "squashfs",
    "erofs",
    "overlay",
    "fuse",
    "9p",
    "9pnet_virtio",
    "virtiofs",
    "configfs",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_utf8",
)

# What the CPU's own alias asks for, and what file systems ask the crypto layer for.
_CRYPTO = (
    "crc32c_generic",
    "crc32c-intel",
    "crc32-pclmul",
    "crct10dif-pclmul",
    "crct10dif_generic",
    "ghash-clmulni-intel",
    "aesni-intel",
    "sha*-ssse3",
    "polyval-clmulni",
    "virtio_crypto",
)

_DISPLAY = (
    "bochs",
    "cirrus",
    "qxl",
    "virtio_gpu",
)

NAMED: dict[str, tuple[str, ...]] = {
    "all": ("*",),
    "none": (),
    "virtio": _VIRTIO,
    "qemu": (
        *_VIRTIO,
        *_STORAGE,
        *_NETWORK,
        *_USB,
        *_SOUND,
        *_BOARD,
        *_FILESYSTEMS,
        *_CRYPTO,
        *_DISPLAY,
    ),
}
