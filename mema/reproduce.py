"""The group ``mema reproduce``: what each stage has to print beside the paper's tables and figures."""

from __future__ import annotations

import click

from mema.lazy import LazyGroup

COMMANDS = {
    "table1": ("generation.reproduce.cli:table1", "Leakage of identity by direct sampling and with donors."),
    "table2": ("generation.reproduce.cli:table2", "Distance to the patients: random and guided sampling."),
    "table3": ("benchmark.reproduce.cli:table3", "Disease top-1, all and by class, and segmentation, by method."),
    "table5": ("benchmark.reproduce.cli:table5", "ID-Dis by recogniser and method."),
    "table6": ("benchmark.reproduce.cli:table6", "Face matching rate by method."),
    "table7": ("benchmark.reproduce.cli:table7", "Errors of landmarks and gaze by method."),
    "table8": ("benchmark.reproduce.cli:table8", "Recovered images by reversible method."),
    "table9": ("baselines.medsem_deid.reproduce.cli:table9", "Ablations of MedSem-DeID, M1 to M4; trains them."),
    "table10": ("baselines.medsem_deid.reproduce.cli:table10", "Encoders of medical semantics; trains beside them."),
    "fig4": ("generation.reproduce.cli:fig4", "Signs and diversity: fine-tuning, severity in the prompt, donors."),
    "fig8": ("baselines.medsem_deid.reproduce.cli:fig8", "Weights of two losses of MedSem-DeID; trains each."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def reproduce() -> None:
    """Print the paper's tables and figures beside ours, with intervals.

    Tables 3 to 8 show what 'mema benchmark run' measured; the others measure when they are asked for.
    """
