"""CPython from source, for guests: static, with the modules of the image frozen into it (docs/interpreter.md)."""
