"""Virtual machines: hardware as values, QEMU's life, what is heard from a guest, and how much memory it needs."""
