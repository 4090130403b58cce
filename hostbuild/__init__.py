"""hostbuild: builds, boots and examines micro-Linux images that load their modules with modaliasd."""
