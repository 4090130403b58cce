"""Kernels: found, unpacked, and the one that an image boots with."""
