"""Machines captured, boots predicted, images learned from them and proved."""
