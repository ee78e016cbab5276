"""De-identifiers: the protocol (``protocol.py``), the table of names (``registry.py``), one file a method.

``mema benchmark methods`` lists them; ``configs/methods/NAME.yaml`` holds the parameters of one.
"""
