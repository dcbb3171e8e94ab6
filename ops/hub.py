"""The Hugging Face hub: asked once and for seconds, its cache where it does not answer.

The hub's own client asks five times more, for every file of a model: a misspelt name on a machine without a network
took it 23 seconds to refuse, and the name of an embedding model more than a minute.
"""

from __future__ import annotations

from pathlib import Path

# How long the hub may take to say whether it has a file.
ANSWER_S = 5.0


def hub_answers(name: str, file: str = "config.json") -> bool:
    """Whether the hub says anything about a file of a model; if not, the file is in the cache.

    Raises the hub's own errors if neither holds, and for a model that it does not know.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import RemoteEntryNotFoundError

    try:
        get_hf_file_metadata(hf_hub_url(name, file), timeout=ANSWER_S)
    except RemoteEntryNotFoundError:
        return True
    except Exception:  # in every failure of the hub a copy is as good
        if not isinstance(try_to_load_from_cache(name, file), str):
            raise
        return False
    return True


def hub_file(name: str, file: str) -> Path:
    """A file of a model, downloaded if it is not in the cache or has changed. Raises the hub's own errors."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(name, file, local_files_only=not hub_answers(name, file)))
