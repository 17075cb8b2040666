"""A process that has imported everything and forks a child for every command, so that none waits for imports.

Reads requests as lines of JSON, each a list of commands to run at once, and answers with their exit codes. A child runs
the command's own entry point and ends as a process ends, the interpreter's shutdown included.
"""

import gc
import json
import os
import signal
import sys
import time
import traceback
from typing import Any

PROGRAMS = {
    "tunemv3d-train": "tunemv3d_train.cli",
    "tunemv3d": "tunemv3d_core.cli.main",
    "render": "fault_programs",
}
WARM = (
    *(
        "tunemv3d_train.trainer",
        "tunemv3d_train.cli",
        "tunemv3d_train.shards",
        "tunemv3d_core.cli.main",
        "accelerate",
        "train_stand_ins",
    ),
    *("tunemv3d_eval.evaluate", "tunemv3d_eval.run", "tunemv3d_data.rendering.job", "tunemv3d_data.commands"),
    *("torch.utils.data", "torch.optim", "torch._dynamo", "torch.distributed", "trimesh", "fault_programs"),
    *("tunemv3d_modulation.pipeline", "embreex.rtcore_scene", "torch.nn.parallel", "PIL.WebPImagePlugin"),
)


def serve() -> dict[str, Any]:
    """Answer requests until one is a child's own, and return that."""
    for name in WARM:
        try:
            __import__(name)
        except ImportError:
            continue
    gc.collect()
    gc.freeze()  # children would copy every page whose objects a collection touches
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        children = {}
        for command in request["commands"]:
            child = os.fork()
            if child == 0:
                return dict(command)
            children[child] = command["name"]
        print(json.dumps(_ended(children, request["limit"], request.get("kill"))), flush=True)
    sys.exit()


def _ended(children: dict[int, str], limit: float, kill: Any) -> dict[str, int | str]:
    """Wait for children; -N is the signal that ended one. Those that hang are killed and told so."""
    codes: dict[str, int | str] = {}
    until = time.monotonic() + limit
    while children:
        for child in list(children):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                codes[children.pop(child)] = os.waitstatus_to_exitcode(status)
            elif kill and children[child] == kill["name"] and os.path.exists(kill["once"]):
                os.kill(child, getattr(signal, kill["signal"]))
                until, kill = time.monotonic() + kill["limit"], None
            elif time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                codes[children.pop(child)] = "hangs"
        time.sleep(0.005)
    return codes


def _run(command: dict[str, Any]) -> None:
    import file_operations

    for number, path in ((1, command["out"]), (2, command["err"])):
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, number)
        os.close(target)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    os.environ.update(command.get("env", {}))
    os.chdir(command["folder"])
    sys.argv = command["argv"]
    for name, value in command.get("constants", {}).items():
        module, _, constant = name.rpartition(".")
        setattr(__import__(module, fromlist=[constant]), constant, value)
    main = __import__(PROGRAMS[command["argv"][0]], fromlist=["main"]).main
    fault = command.get("fault")
    if fault is None:
        main()
        return
    layer = file_operations.Layer(**fault)
    file_operations.install(layer)
    _tell_of_checkpoints(layer)
    try:
        main()
    finally:
        layer.save()


def _tell_of_checkpoints(layer: Any) -> None:
    """Note when a checkpoint counts as saved."""
    from tunemv3d_train import checkpoints

    save = checkpoints.save_checkpoint

    def told(folder: Any, *arguments: Any, **named: Any) -> Any:
        saved = save(folder, *arguments, **named)
        layer.tell(folder.name)
        return saved

    checkpoints.save_checkpoint = told


if __name__ == "__main__":
    own = serve()
    try:
        _run(own)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if own["whole"]:
        sys.exit(code)
    # The interpreter's shutdown takes longer than a tiny run.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
