"""OpenMeMa's ground floor: the records, files and instruments that every stage shares."""

__version__ = "0.1.0"
