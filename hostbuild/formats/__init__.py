"""File formats, read and written: newc, compressors, ELF and modules, the kernel's .config and image, the manifest."""
