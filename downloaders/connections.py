"""Open connections, kept for the next file; proxies and certificates are those of the machine."""

from __future__ import annotations

import functools
import re
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import certifi
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager
from urllib3.util import Retry, Timeout, make_headers, parse_url

from downloaders.host_limits import PER_HOST
from downloaders.transport import Policy

MAX_REDIRECTS = 10
_HOSTS = 32
# Our fetcher retries: it also keeps the bytes that came before.
_ONLY_REDIRECTS = Retry(
    total=None,
    connect=0,
    read=0,
    other=0,
    status=0,
    redirect=MAX_REDIRECTS,
    respect_retry_after_header=False,
)


class Connections:
    """Sends GET requests and follows redirects. Threads may share one.

    A redirect to another host does not get the ``Authorization`` header.
    """

    def __init__(self, policy: Policy) -> None:
        self._timeout = Timeout(connect=policy.connect_timeout, read=policy.read_timeout)
        self._proxies = getproxies()
        self._managers: dict[str | None, PoolManager] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections that nobody uses now."""
        for manager in self._managers.values():
            manager.clear()

    def get(self, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """Return the answer, whatever its status; its body is not read yet.

        Raises
        ------
        urllib3.exceptions.HTTPError
            No server answered, or it redirects without end.
        """
        # The bytes on disk must be the published ones, so nothing may be encoded on the way.
        sent = {"User-Agent": "samdistill", "Accept-Encoding": "identity", **headers}
        scheme, _, rest = url.partition("://")
        login, _, host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")
        if login:
            sent |= make_headers(basic_auth=unquote(login))
        return self._manager(self._proxy(scheme, host)).urlopen(
            "GET",
            url,
            headers=sent,
            preload_content=False,
            decode_content=False,
            retries=_ONLY_REDIRECTS,
            timeout=self._timeout,
        )

    def _proxy(self, scheme: str, host: str) -> str | None:
        chosen = self._proxies.get(scheme) or self._proxies.get("all")
        return None if chosen is None or proxy_bypass(host) else chosen

    def _manager(self, proxy: str | None) -> PoolManager:
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = _open_manager(proxy)
            return self._managers[proxy]


def _open_manager(proxy: str | None) -> PoolManager:
    if proxy is None:
        return PoolManager(_HOSTS, maxsize=PER_HOST, ssl_context=_certificates())
    auth = parse_url(proxy).auth
    return ProxyManager(
        proxy if "://" in proxy else f"http://{proxy}",
        _HOSTS,
        maxsize=PER_HOST,
        ssl_context=_certificates(),
        proxy_headers=None if auth is None else make_headers(proxy_basic_auth=auth),
    )


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Trust whom the machine trusts, or ``SSL_CERT_FILE``; where there is no list, certifi's."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    return context
