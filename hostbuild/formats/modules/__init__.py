"""Files of kernel modules: packed, stripped, signed, of which version; and depmod's binary indexes."""
