"""MedSem-DeID by construction: identity is a code that a key turns, medical semantics are shown as they are."""
