"""modaliasd: loads the kernel modules that a machine's devices ask for, and says which device caused each."""

__version__ = "0.2.0"
