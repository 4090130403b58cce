"""Thin shells: one piece of Linux each."""
