"""Tasks that ask for resources: of eight, four run at once, as there are four GPUs.

A resource is a name and a number. dagger counts what is in use and looks at no device. A kind that
the manager was not told of is unlimited; a task that asks for more than there is, is refused.
"""

from dagger.core import FunctionTask, MemoryDatum, WorkflowManager


def train(seed):
    weight = seed
    for _ in range(10_000):
        weight = (1_103_515_245 * weight + 12_345) % 2**31
    return {"weight": weight}


def best(**weights):
    return {"weight": max(weights.values())}


runs = {
    f"seed_{seed}": FunctionTask(
        f"train-{seed}",
        train,
        inputs={"seed": MemoryDatum(pointer=seed)},
        outputs={"weight": None},
        resources={"gpu": 1, "memory_gb": 16},
    )["weight"]
    for seed in range(8)
}
root = FunctionTask("best", best, inputs=runs, outputs={"weight": None})

WorkflowManager(root, resources={"gpu": 4, "memory_gb": 64}).run()
print(root["weight"].pointer)
