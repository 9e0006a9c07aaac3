"""Brings files by threads of this process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from downloaders.base import RemoteFile
from downloaders.raw_folder import FileOutcome, RawFolder

FileProgress = Callable[[RemoteFile, int], None]
"""Called with the bytes of a file that are on disk, from several threads."""
Finished = Callable[[FileOutcome], None]
"""Called with what became of a file, from one thread."""
Folders = Mapping[str | None, RawFolder]
"""By ``RemoteFile.dataset``: where the files of a plan lie."""


def bring_in_threads(
    files: Sequence[RemoteFile],
    folders: Folders,
    threads: int,
    progress: FileProgress,
    finished: Finished,
) -> None:
    """Bring all files, ``threads`` at a time.

    The threads are daemons: after Ctrl-C nobody waits for one that hangs in a read, and a part is
    sound wherever it is left.
    """
    waiting: queue.SimpleQueue[RemoteFile] = queue.SimpleQueue()
    done: queue.SimpleQueue[FileOutcome | BaseException] = queue.SimpleQueue()
    for file in files:
        waiting.put(file)

    def work() -> None:
        try:
            while True:
                file = waiting.get_nowait()
                done.put(folders[file.dataset].bring(file, partial(progress, file)))
        except queue.Empty:
            return
        except BaseException as error:
            # What no outcome can tell belongs to the caller's thread.
            done.put(error)

    for _ in range(min(threads, len(files))):
        threading.Thread(target=work, name="download", daemon=True).start()
    for _ in files:
        result = done.get()
        if isinstance(result, BaseException):
            raise result
        finished(result)
