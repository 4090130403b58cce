"""Modules loaded, watched as others load them, and removed: what stands between the scheduler and modprobe."""
