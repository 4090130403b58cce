"""Machines captured, boots foretold, images learned from them and proved."""
