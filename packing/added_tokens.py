"""Added tokens of a Hugging Face tokenizer: control tokens that no text may become, and words that were added to it.

A token is for control if the tokenizer marks it as special, if its settings name it (as EOS, BOS, padding, ...), or if
the configuration names it as BOS or EOS. All others are ordinary words of the vocabulary, `library` as well as
`<think>`, and text becomes them as the library has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any


def control_tokens(
    definition: Mapping[str, Any], settings: Mapping[str, Any], named: Collection[str] = ()
) -> dict[str, int]:
    """Added tokens that no text may become, with their ids.

    `definition` is that of `tokenizer.json`, `settings` those of `tokenizer_config.json`, `named` what the
    configuration calls BOS and EOS.
    """
    names = {*named, *_special_names(settings)}
    return {
        token["content"]: token["id"]
        for token in definition.get("added_tokens", ())
        if token.get("special") or token["content"] in names
    }


def added_words(definition: Mapping[str, Any], control: Mapping[str, int]) -> list[Mapping[str, Any]]:
    """The other added tokens, as they are declared."""
    return [
        token for token in definition.get("added_tokens", ()) if token["content"] and token["content"] not in control
    ]


def without_control_tokens(definition: Mapping[str, Any], control: Mapping[str, int], digest: bytes) -> dict[str, Any]:
    """The same tokenizer, with names for the control tokens that no page can hold, so that no text becomes one.

    Leaving them out would shift the ids of others; the library's own switch (`encode_special_tokens`) stops the
    search for them in the text, but a model whose vocabulary lists them still finds them piece by piece. Padding,
    truncation and what frames a sentence go too: documents are encoded whole and bare.
    """
    names = {name: f"\U0010ffff{digest.hex()}{token}" for name, token in control.items()}
    model = dict(definition["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(name, name): token for name, token in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(name, name), score] for name, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        model["merges"] = _merges_without(model["merges"], names)
    added = [
        {**token, "content": names[token["content"]], "special": True} if token["content"] in names else token
        for token in definition.get("added_tokens", ())
    ]
    bare = {"post_processor": None, "padding": None, "truncation": None}
    return {**definition, **bare, "model": model, "added_tokens": added}


def _merges_without(merges: Sequence[str | Sequence[str]], names: Mapping[str, str]) -> Sequence[str | Sequence[str]]:
    """Merges that neither take nor make one of `names`."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
    kept = [(left, right) for left, right in pairs if not (left in names or right in names or left + right in names)]
    if any(" " in left or " " in right for left, right in kept):
        return kept
    return [f"{left} {right}" for left, right in kept]  # this spelling is read faster


def _special_names(settings: Mapping[str, Any]) -> Iterator[str]:
    """Tokens that the settings use as control tokens, or declare as special."""
    for key, setting in settings.items():
        if key.endswith("special_tokens"):
            yield from map(_content, setting.values() if isinstance(setting, dict) else setting or ())
        elif key.endswith("_token"):
            yield _content(setting)
    for token in (settings.get("added_tokens_decoder") or {}).values():
        if token.get("special"):
            yield _content(token)


def _content(token: Any) -> str:
    """Name of a token: a string, or an object with its content."""
    name = token.get("content") if isinstance(token, dict) else token
    return name if isinstance(name, str) else ""
