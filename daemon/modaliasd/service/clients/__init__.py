"""Those who ask the daemon over its control socket, and those who wait for its answer."""
