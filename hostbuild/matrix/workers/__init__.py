"""Where cells are booted: the cluster, what is handed to it, and what runs in its workers."""
