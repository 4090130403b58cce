"""The network helper of an image: brings Ethernet links up and gets their addresses by DHCP (docs/network.md).

A process of its own beside the daemon: it takes part in no load, and neither imports the other. `hostbuild make-image
--with network` puts it into an image, with pyroute2, which speaks rtnetlink and DHCP.

Pure: words.py, the kernel's command line; plan.py, links.py, which link wants what; answers.py, advertised.py,
domains.py, what comes off the wire; settings.py, what all that means for a link.
Shells: client.py, routers.py, DHCP's socket and the kernel's; applied.py, log.py, what is set and said; helper.py.
"""
