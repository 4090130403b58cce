def assemble(device): pass
