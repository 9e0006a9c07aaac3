"""A stream as a ``DataLoader``, for frameworks that ask for one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from pipelines.stream.batches import Batch
from pipelines.stream.feature_stream import FeatureStream, StreamState


class StreamLoader(DataLoader[Batch]):
    """Yields the stream's batches, in its order, from any number of worker processes.

    Its state is the stream's: that of the batches handed out, not of those the workers have read
    ahead. Trainers that save and load the state of their loaders find it here.

    Parameters
    ----------
    num_workers
        0 reads in threads of this process, which is the fastest: batches of workers pass through
        shared memory.
    """

    def __init__(
        self,
        stream: FeatureStream,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
        multiprocessing_context: str | None = None,
    ) -> None:
        self.stream = stream
        super().__init__(
            stream,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=pin_memory,
            multiprocessing_context=multiprocessing_context,
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yield batches from the stream's position on."""
        for batch in super().__iter__():
            self.stream.position = batch.position
            yield batch

    def state_dict(self) -> StreamState:
        """See ``FeatureStream.state_dict``."""
        return self.stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See ``FeatureStream.load_state_dict``."""
        self.stream.load_state_dict(state)
