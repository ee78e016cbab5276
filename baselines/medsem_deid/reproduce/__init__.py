"""MeMa's experiments on MedSem-DeID itself: ablations (Table 9), encoders (Table 10) and weights of losses (Fig 8)."""
