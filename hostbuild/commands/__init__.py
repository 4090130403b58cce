"""One module for each of hostbuild's commands: options in, a call of the library, a rendering out."""
