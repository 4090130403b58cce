"""Kernels by machines by images by tests: many guests, on this machine or on several."""
