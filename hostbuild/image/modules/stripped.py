"""Modules as an image carries them with --strip: formats/module_strip.py, for values of this package."""

from dataclasses import replace

from hostbuild.formats.module_strip import strip_module
from hostbuild.image.modules.selection import Module


def stripped(module: Module) -> Module:
    """Give a module without signature, BTF and debug sections; itself where it has none of them."""
    data = module.read()
    content = strip_module(data)
    return module if len(content) == len(data) else replace(module, content=content, size=len(content))
