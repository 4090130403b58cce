"""Programs that run beside QEMU and serve it on a socket: TPMs, shared folders."""
