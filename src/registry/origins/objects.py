"""Objects of S3, Google Cloud Storage and Azure, by the package obstore; the host's environment has the credentials."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from ...errors import FailedPrecondition, NotFound, Unavailable
from ..urls import Url
from .origin import CHUNK_BYTES, SILENCE_S, Found

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

log = logging.getLogger("penstock.registry")


class Objects:
    """One object, or all below a folder."""

    def __init__(self, url: Url) -> None:
        try:
            import obstore
        except ModuleNotFoundError:
            text = f"to read {url.scheme}:// the registry needs a package that is not installed on its host"
            raise FailedPrecondition(f"{text}: pip install 'penstock[s3]'", precondition="s3") from None
        self._obstore: Any = obstore
        self._url = url
        self._key = url.path.strip("/")
        with self._errors():
            self._store = _store(obstore, url)

    async def files(self, most: int) -> list[Found]:
        """See Origin."""
        with self._errors():
            if self._url.name:
                head = await self._obstore.head_async(self._store, self._key)
                return [Found(self._url.name, head["size"])]
            found = await self._below(most)
        if not found:
            raise NotFound(f"there is nothing below {self._url}", resource=("url", str(self._url)))
        return found

    async def _below(self, most: int) -> list[Found]:
        found: list[Found] = []
        async for objects in self._obstore.list(self._store, prefix=self._key or None, chunk_size=1000):
            found += [Found(self._relative(o["path"]), o["size"]) for o in objects if o["path"] != self._key]
            if len(found) > most:
                break
        return sorted(_without_folders(found), key=lambda file: file.path)

    def _relative(self, key: str) -> str:
        return key.removeprefix(f"{self._key}/") if self._key else key

    async def read(self, path: str) -> AsyncGenerator[bytes, None]:
        """See Origin."""
        key = self._key if self._url.name else f"{self._key}/{path}".lstrip("/")
        with self._errors():
            answer = await self._obstore.get_async(self._store, key)
            async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Texts of the store's own go into the log: they may hold what the publisher must not see."""
        errors = self._obstore.exceptions
        try:
            yield
        except (FileNotFoundError, errors.NotFoundError):
            raise NotFound(f"there is no {self._url}", resource=("url", str(self._url))) from None
        except (PermissionError, errors.PermissionDeniedError, errors.UnauthenticatedError):
            text = f"the registry may not read {self._url}; give its host credentials that may"
            raise FailedPrecondition(text, precondition=str(self._url)) from None
        except errors.BaseError as error:
            log.warning("reading %s failed: %s", self._url, error)
            raise Unavailable(f"{self._url} cannot be read now; the registry's log says more") from None


def _without_folders(found: list[Found]) -> list[Found]:
    """Some tools make an empty object `folder/`, which obstore calls `folder`."""
    parents = {parent for file in found for parent in _parents(file.path)}
    return [file for file in found if file.size or file.path not in parents]


def _parents(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _store(obstore: Any, url: Url) -> Any:
    options = {"connect_timeout": timedelta(seconds=10), "read_timeout": timedelta(seconds=SILENCE_S)}
    # The default is 30 s for a whole object, however large; how long all may take is bounded by who reads.
    options["timeout"] = timedelta(days=1)
    retries = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
    endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS)), "")
    if url.scheme == "s3":
        plain = {"allow_http": True} if endpoint.startswith("http://") else {}  # the operator's own choice
        return obstore.store.S3Store(url.host, client_options=options | plain, retry_config=retries)
    make = obstore.store.GCSStore if url.scheme == "gs" else obstore.store.AzureStore
    return make(url.host, client_options=options, retry_config=retries)
