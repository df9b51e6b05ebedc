"""A diamond: one task feeds two, and their results meet in a fourth. Prints 40."""

from dagger.core import FunctionTask, MemoryDatum, WorkflowManager


def add_one(x):
    return {"output": x + 1}


def double(x):
    return {"output": 2 * x}


def multiply(x, y):
    return {"output": x * y}


start = MemoryDatum(pointer=3)
t0 = FunctionTask("start", add_one, inputs={"x": start}, outputs={"output": None})
t1 = FunctionTask("left", add_one, inputs={"x": t0["output"]}, outputs={"output": None})
t2 = FunctionTask("right", double, inputs={"x": t0["output"]}, outputs={"output": None})
t3 = FunctionTask(
    "meet",
    multiply,
    inputs={"x": t1["output"], "y": t2["output"]},
    outputs={"output": None},
)

WorkflowManager(t3).run()
print(t3["output"].pointer)
assert t3["output"].pointer == 40
