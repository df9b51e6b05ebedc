"""A shell script as a task. Run it in this folder, or add `-C examples/concat` to `dagger`."""

from dagger.core import FileDatum, ScriptTask, WorkflowManager

task = ScriptTask(
    "concat",
    inputs={"file1": FileDatum(pointer="input1.txt"), "file2": FileDatum(pointer="input2.txt")},
    outputs={"result": "output.txt"},
    script="cat {file1} {file2} > {result}",
)

WorkflowManager(task).run()
