"""The daemon's boot path as one file: its modules, without what nothing calls before the first modprobe."""
