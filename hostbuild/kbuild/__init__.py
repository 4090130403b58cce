"""The kernel's own build, driven: source trees, Kconfig, module names, make with a progress bar."""
