"""A U-Net steered by a password, reversible with it: a stand-in of our own for Gu et al. (ECCV 2020)."""
