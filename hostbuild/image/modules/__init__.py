"""The kernel modules of an image: chosen, read, indexed, kept; and their firmware."""
