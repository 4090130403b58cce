"""What is loaded by name, not for a device: lists of modules, nodes that bring theirs, the kernel's own requests."""
