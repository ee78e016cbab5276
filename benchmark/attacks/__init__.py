"""Attackers that adapt to a method (ALGORITHMS §7), what certifies them, and the ladder that they make together."""
