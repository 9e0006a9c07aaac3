"""The pulse of a process: how many steps it has finished, so that a hang is told from hard work."""

from __future__ import annotations


class Stopped(BaseException):
    """The run was interrupted: the units of other threads end at their next step."""


class Pulse:
    """Counts finished steps of any kind: an image decoded, a batch computed, a row written.

    A lock would be slower than the count is worth: one step lost between two threads is no harm.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.stopping = False

    def beat(self) -> None:
        """Count a step.

        Raises
        ------
        Stopped
            The run was interrupted.
        """
        self.steps += 1
        self.check()

    def check(self) -> None:
        """Raise ``Stopped`` when the run was interrupted; this is no step."""
        if self.stopping:
            raise Stopped


PULSE = Pulse()
"""Of this process."""
