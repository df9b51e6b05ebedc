"""Are longer bills deeper? All penguins together say no, the penguins of each species say yes.

Simpson's paradox in 333 birds. From this folder, `python pipeline.py` or `dagger run pipeline.py`;
from anywhere else, `dagger -C examples/penguins run pipeline.py`. Results go to results/.
"""

from __future__ import annotations

import bills
import drawing
import pandas as pd

from dagger.abstract import DatumList
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, WorkflowManager

SPECIES = ["Adelie", "Chinstrap", "Gentoo"]
COMPARED = {
    "all together": [],
    "within species": ["species"],
    "within species and sex": ["species", "sex"],
}


def clean(rows):
    return {"birds": bills.read_birds(rows)}


def fit(birds, within):
    return {"fit": bills.fit(pd.concat(birds), within)}


def write_table(names, fits, table):
    with open(table, "w", encoding="utf-8") as file:
        file.write(drawing.table_of(dict(zip(names, fits, strict=True))))


def draw_figure(birds, names, fits, figure):
    drawing.figure_of(pd.concat(birds), dict(zip(names, fits, strict=True)), figure)


# Fan out: each species gets its rows, its birds and its slope.
raw = FileDatum(pointer="data/penguins-raw.csv")
birds = {}
apart = {}
for species in SPECIES:
    split = ScriptTask(
        f"split-{species}",
        inputs={"raw": raw},
        outputs={"rows": f"results/{species}.csv"},
        script=f"sed -n -e 1p -e '/,{species} /p' {{raw}} > {{rows}}",
    )
    birds[species] = PklTask(
        f"clean-{species}",
        clean,
        inputs={"rows": split["rows"]},
        outputs={"birds": f"results/{species}.pkl"},
    )["birds"]
    apart[species] = FunctionTask(
        f"fit-{species}",
        fit,
        inputs={"birds": DatumList(FileDatum, [birds[species]]), "within": MemoryDatum(pointer=[])},
        outputs={"fit": None},
    )["fit"]

# Join: all birds again, compared in three ways.
everyone = DatumList(FileDatum, list(birds.values()))
together = {
    name: FunctionTask(
        f"fit-{name.replace(' ', '-')}",
        fit,
        inputs={"birds": everyone, "within": MemoryDatum(pointer=within)},
        outputs={"fit": None},
    )["fit"]
    for name, within in COMPARED.items()
}

fits = {**together, **apart}
slopes = {
    "names": MemoryDatum(pointer=list(fits)),
    "fits": DatumList(MemoryDatum, list(fits.values())),
}
table = FunctionTask("table", write_table, inputs=slopes, outputs={"table": "results/slopes.md"})
figure = FunctionTask(
    "figure",
    draw_figure,
    inputs={"birds": everyone, **slopes},
    outputs={"figure": "results/bills.png"},
)

WorkflowManager([table, figure]).run()
