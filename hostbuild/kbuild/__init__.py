"""The kernel's own build, driven: source trees, Kconfig, the Makefiles' module names, make with a progress bar."""
