"""A function whose result is kept as a pickle, where other programs find it too."""

from dagger.core import MemoryDatum, PklTask, WorkflowManager


def summarize(data):
    return {"result": {"total": sum(data), "mean": sum(data) / len(data)}}


task = PklTask(
    "process",
    summarize,
    inputs={"data": MemoryDatum(pointer=[1, 2, 3, 4, 5])},
    outputs={"result": "output.pkl"},
)

WorkflowManager(task).run()
