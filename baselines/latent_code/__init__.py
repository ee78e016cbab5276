"""Encode a face as a code, turn the part of it that is identity by a key, decode: the family of RiDDLE, linear."""
