from __future__ import annotations

import gc
import weakref

import numpy as np
import torch

from pipelines.stream.allowance import Lease
from pipelines.stream.buffers import BufferPool


def make_pool(keep: int = 2) -> BufferPool:
    return BufferPool((4, 256), np.dtype("<f2"), keep=keep)


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    pool = make_pool()
    first = pool.take()
    place = first.data_ptr()
    del first
    assert pool.take().data_ptr() == place


def test_a_view_keeps_its_memory() -> None:
    pool = make_pool()
    first = pool.take()
    first.fill_(1)
    view, array = first[2], first.numpy()[3, :]
    typed = first.view(torch.int16)[0]
    del first
    gc.collect()
    for _ in range(3):
        pool.take().fill_(2)
    assert (view == 1).all()
    assert (array == 1).all()
    assert (typed == typed[0]).all()
    place = view.data_ptr() - 2 * 256 * 2
    del view, typed
    assert pool.take().data_ptr() != place
    del array
    gc.collect()
    assert pool.take().data_ptr() == place


def test_no_more_than_keep_blocks_stay() -> None:
    pool = make_pool(keep=2)
    held = [pool.take() for _ in range(5)]
    places = {tensor.data_ptr() for tensor in held}
    held.clear()
    again = [pool.take() for _ in range(2)]
    assert {tensor.data_ptr() for tensor in again} <= places
    assert len(pool._free) == 0


def test_types_that_numpy_has_and_torch_names_otherwise() -> None:
    for name in ("<f4", "<f2", "<u2", "|u1"):
        tensor = BufferPool((3,), np.dtype(name), keep=1).take()
        assert tensor.numpy().dtype == np.dtype(name)
    assert BufferPool((2,), np.dtype("<u2"), keep=1).take().view(torch.bfloat16).shape == (2,)


def test_blocks_begin_at_a_page() -> None:
    for count in (3, 4096, 50 << 20):
        assert BufferPool((count,), np.dtype("|u1"), keep=1).take().data_ptr() % 4096 == 0


def test_a_lease_is_held_until_the_block_comes_back() -> None:
    lease = Lease()
    gone = weakref.ref(lease)
    pool = make_pool()
    first, second = pool.take(lease), pool.take(lease)
    view = first[1]
    del lease, first, second
    assert gone() is not None
    del view
    assert gone() is None
