"""Finds and mounts the root file system that `root=` names, beside the daemon and with its help; says why it cannot."""
