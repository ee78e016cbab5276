"""Fit the phantom estimator of age and gender on the donors of ``data``.

    python -m generation.phantom.training.attributes --data runs/training/donors \\
        --out weights/phantom-attributes.safetensors

Ridge regression and logistic regression on the embeddings of ``mema.faces.phantom_attributes.RECOGNISER``. What is
printed is measured on the held-out donors; ``mema phantom attributes`` says more.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from mema.errors import run_script


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="What `data` rendered.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
def main(data: Path, out: Path) -> None:
    """Embed every donor's photos, fit, write float32 weights."""
    from safetensors.numpy import save
    from sklearn.linear_model import LogisticRegression, Ridge

    from generation.phantom.training.data import draw_case, load_donors
    from mema.engine import batches
    from mema.faces.phantom_attributes import RECOGNISER, with_constant
    from mema.faces.recognisers import recogniser
    from mema.files import atomic_write

    donors = load_donors(data)
    subjects = [draw_case(index, donors.photos).subject for index in range(len(donors.images) // donors.photos)]
    ages = np.repeat([float(subject.age) for subject in subjects], donors.photos)
    female = np.repeat([subject.gender == "female" for subject in subjects], donors.photos)
    instrument = recogniser(RECOGNISER)
    parts = [
        instrument.embed(np.asarray(donors.images[rows[0] : rows[-1] + 1])).vectors
        for rows in batches(range(len(donors.images)), 64)
    ]
    vectors = with_constant(np.concatenate(parts))
    seen = slice(0, donors.training)
    age = Ridge(alpha=0.01, fit_intercept=False).fit(vectors[seen], ages[seen]).coef_
    gender = LogisticRegression(C=100.0, max_iter=1000, fit_intercept=False).fit(vectors[seen], female[seen]).coef_[0]
    atomic_write(out, save({"age": age.astype(np.float32), "female": gender.astype(np.float32)}))

    held_out = slice(donors.training, None)
    error = np.abs(vectors[held_out] @ age - ages[held_out]).mean()
    right = ((vectors[held_out] @ gender > 0) == female[held_out]).mean()
    click.echo(f"held-out donors: age off by {error:.1f} years, gender right in {100 * right:.1f} %; {out}")


if __name__ == "__main__":
    run_script(main)
