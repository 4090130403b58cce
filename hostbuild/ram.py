"""How much memory a guest needs to boot an image: a pure reckoning from the image's sizes."""

MIB = 1 << 20
_KERNEL = 128 * MIB  # the kernel, its page descriptors and the modules that it loads
_STEP = 64 * MIB
_LEAST = 256 * MIB


def auto_memory(compressed: int, unpacked: int) -> int:
    """Return MiB that boot an image of these sizes (bytes) with room to work in.

    The root file system is a tmpfs, which may take half of what is free when the kernel mounts it, and the
    compressed image lies in memory at that moment (init/initramfs.c, mm/shmem.c). The kernel itself, its page
    descriptors and the loaded modules have 128 MiB, processes what remains of the tmpfs's other half. Rounded
    up to 64 MiB, and never below 256 MiB.
    """
    need = 2 * unpacked + compressed + _KERNEL
    return max(_LEAST, -(-need // _STEP) * _STEP) // MIB
