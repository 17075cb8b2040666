"""Scalars and pictures for TensorBoard."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.pictures import open_picture


class EventFile:
    """Event file, written at once: a writer with a thread of its own would report a full disk too late.

    Args:
        folder: folder that TensorBoard is pointed to; created if missing.
        purge_step: TensorBoard forgets what older files in the folder say of this step and later ones.

    Raises:
        CheckpointError: the file cannot be written.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._path = folder / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._write(Event(file_version="brain.Event:2"))
        self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step by their names."""
        named = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(step=step, summary=Summary(value=named)))

    def picture(self, step: int, name: str, path: Path) -> None:
        """Append a PNG file as a step's picture."""
        with open_picture(path) as picture:
            width, height = picture.size
        image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=path.read_bytes())
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)])))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                RecordWriter(file).write(event.SerializeToString())
        except OSError as error:
            raise CheckpointError(f"{self._path}: cannot be written: {error}") from error
