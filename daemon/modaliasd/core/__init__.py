"""The pure half of modaliasd: no file, socket, process or clock. The host side shares it."""
