"""MedSem-DeID, the paper's baseline: encrypt who somebody is by a password, keep what a physician reads (MeMa, §4)."""
