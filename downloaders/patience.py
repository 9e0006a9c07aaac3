"""Whether to try a mirror again, after how long, and what people are told meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from downloaders.host_limits import host_of
from downloaders.transport import Policy, TransientError, UnknownHostError
from schemas.errors import DownloadError

Say = Callable[[str], None]
"""Called with a line for people, from any thread."""


class KnownHosts:
    """What a run has learned of hosts: a name that once was found may only be lost for a while.

    Threads may share one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered: set[str] = set()
        self._given_up: set[str] = set()

    def answered(self, url: str) -> None:
        """Note that the host of ``url`` is there."""
        with self._lock:
            self._answered.add(host_of(url))

    def given_up(self, url: str) -> None:
        """Note that the name of the host was not found, time and again."""
        with self._lock:
            self._given_up.add(host_of(url))

    def retries(self, url: str, policy: Policy) -> int:
        """Return how often to retry after the name of the host was not found."""
        with self._lock:
            if host_of(url) in self._answered:
                return policy.retries
            return 0 if host_of(url) in self._given_up else policy.name_retries


class Patience:
    """The attempts at one file from one mirror.

    Parameters
    ----------
    size
        Bytes of the file that are there.
    """

    def __init__(
        self, policy: Policy, hosts: KnownHosts, url: str, name: str, size: int, say: Say
    ) -> None:
        self._policy, self._hosts, self._say = policy, hosts, say
        self._url, self._name = url, name
        self._attempt, self._mark = 0, size

    def wait_after(self, error: TransientError, size: int) -> float:
        """Return the seconds to wait before the next attempt, and say so.

        Raises
        ------
        DownloadError
            There were enough.
        """
        if size >= self._mark + self._policy.progress_bytes:
            self._attempt, self._mark = 0, size
        self._attempt += 1
        unknown = isinstance(error, UnknownHostError)
        retries = self._hosts.retries(self._url, self._policy) if unknown else self._policy.retries
        if self._attempt > retries:
            if unknown:
                self._hosts.given_up(self._url)
            raise DownloadError(f"{error} (gave up after {_times(self._attempt)})") from error
        seconds = self._policy.wait(self._attempt, error.retry_after)
        attempt = f"attempt {self._attempt + 1} of {retries + 1}"
        self._say(f"{self._name} waits {seconds:g} s for {attempt}: {error}")
        return seconds


def _times(attempts: int) -> str:
    return "1 attempt" if attempts == 1 else f"{attempts} attempts"
