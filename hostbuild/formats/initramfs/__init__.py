"""An initramfs, read as the kernel unpacks it, and written: segments, newc members, the tree that comes of them."""
