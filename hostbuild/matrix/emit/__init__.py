"""Cells handed to somebody's lab, as its own files: job files for LAVA, environments for labgrid."""
