"""The command line ``mema``: a table of commands whose modules are imported when one of them is used."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click

from mema import __version__
from mema.errors import UserError
from mema.lazy import LazyGroup

# name -> (reference, what --help says), so that help imports no stage.
COMMANDS = {
    "phantom": ("generation.cli:phantom", "Render and measure the phantom hospital."),
    "generate": ("generation.cli:generate", "Patients to virtual patients: cohort, fine-tune, plan, sample."),
    "reproduce": ("mema.reproduce:reproduce", "Print the paper's tables and figures beside ours, with intervals."),
    "curate": ("curation.cli:curate", "Candidates to annotated images: audit, filter, annotate."),
    "release": ("curation.release_cli:release", "Versions of a dataset: build, publish, diff, verify, retract."),
    "annotate": ("curation.labelstudio.cli:annotate", "Physicians in Label Studio: serve, push, pull, agreement."),
    "medsem": ("baselines.medsem_deid.cli:medsem", "Train and measure MedSem-DeID: encoder, train, measure."),
    "benchmark": ("benchmark.cli:benchmark", "Run de-identification methods on a release."),
    "leaderboard": ("benchmark.cli:leaderboard", "Keep results and render the leaderboard from them."),
    "config": ("mema.commands:config", "Check a build's YAML."),
    "weights": ("mema.commands:weights", "List weights: what is here, its licence, its hash."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="openmema")
def cli() -> None:
    """OpenMeMa: virtual patients for medical face de-identification."""


def main() -> Any:
    """Run the command line: user errors are one line on stderr and exit code 2, a full disk too."""
    try:
        return cli(standalone_mode=True)
    except UserError as error:
        click.echo(f"mema: {error}", err=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        click.echo("mema: the disk is full: free some space and run the same command again", err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
