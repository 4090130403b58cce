"""The daemon: its loop, and one module for each of its jobs."""
