"""From the name of a topic or folder to its source; each needs packages of its own, which are imported here only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curatord.errors import StreamError, install_with
from curatord.source import Source


def open_source(url: str, client_options: Mapping[str, Any]) -> Source:
    """The topic or folder of this name. Raises `StreamError` if there is none, `BrokerUnavailable`."""
    if url.startswith("kafka://"):
        try:
            from curatord.topic import TopicSource
        except ModuleNotFoundError as error:
            raise StreamError(f"a topic needs {error.name}. {install_with('kafka')}") from error
        return TopicSource(*kafka_place(url), client_options)
    if "://" in url:
        raise StreamError(f"{url} cannot be read: give kafka://host:9092/topic, or a folder")
    try:
        from curatord.folder import FolderSource
    except ModuleNotFoundError as error:
        raise StreamError(f"a folder needs {error.name}. {install_with('files')}") from error
    return FolderSource(Path(url))


def kafka_place(url: str) -> tuple[str, str]:
    """Servers and topic."""
    parts = urlsplit(url)
    topic = parts.path.strip("/")
    if parts.scheme != "kafka" or not parts.netloc or not topic or "/" in topic or parts.query:
        raise StreamError(
            f"{url} names no topic: give kafka://host:9092,host:9092/topic; other options are given as client_options"
        )
    return parts.netloc, topic
