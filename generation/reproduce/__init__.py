"""The paper's experiments on generation as commands: ``mema reproduce table1 | table2 | fig4``."""
