"""Configuration: every mistake is found, named and explained."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from curatord.errors import ConfigError
from daemon.config import Config, check_endless, load_config, parse_config, show_config
from tests.daemon.conftest import Run


def options(section: msgspec.Struct, path: str = "") -> Iterator[tuple[str, object]]:
    """Every option with its default."""
    for field in msgspec.structs.fields(type(section)):
        value, here = getattr(section, field.name), f"{path}.{field.name}" if path else field.name
        if isinstance(value, msgspec.Struct):
            yield from options(value, here)
        else:
            yield here, value


def tree_of(path: str, value: object) -> dict[str, object]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def test_the_starter_file_uncommented_says_the_defaults() -> None:
    lines = show_config(Config(), comments=True).splitlines()
    names = {path.rsplit(".", 1)[-1] for path, _ in options(Config())}
    active = [line.removeprefix("# ") if line.split(" = ")[0].removeprefix("# ") in names else line for line in lines]

    assert parse_config(tomllib.loads("\n".join(active)), "starter") == Config()


def test_what_is_shown_can_be_read_back() -> None:
    config = parse_config({"mixture": {"rho": 0.5, "weights": {"a*": 2.0}}, "language": {"keep": ["en"]}}, "test")

    assert parse_config(tomllib.loads(show_config(config, comments=False)), "shown") == config


@pytest.mark.parametrize("path", [path for path, _ in options(Config())])
def test_a_wrong_type_is_refused_with_the_option_it_is_of(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(tree_of(path, [[]]), "test")

    assert path in str(caught.value)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("path", [path for path, _ in options(Config())])
def test_every_option_says_what_it_means(path: str) -> None:
    lines = show_config(Config(), comments=True).splitlines()
    section, _, name = path.rpartition(".")
    start = lines.index(f"[{section}]")
    place = next(
        i for i, line in enumerate(lines) if i > start and line.startswith((f"# {name} = ", f"# {name} is unset"))
    )

    assert lines[place - 1].startswith("# ")
    assert len(lines[place - 1]) > 20


def test_an_unknown_key_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match=r"packing\.context_lenght is no option; did you mean context_length"):
        parse_config({"packing": {"context_lenght": 2048}}, "test")


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(
            {"daemon": {"processes": "many"}, "packing": {"beta": -1}, "tokeniser": {}, "bandit": {"floor": 0.9}}, "t"
        )

    for part in ("daemon.processes", "packing.beta", "tokeniser", "tokenizer", "bandit.floor"):
        assert part in str(caught.value)


def test_an_option_of_an_earlier_version_is_refused_with_the_one_in_its_place() -> None:
    with pytest.raises(ConfigError, match=r"daemon\.threads is no option any more; daemon\.processes says"):
        parse_config({"daemon": {"threads": 2}}, "test")


def test_the_page_of_the_documentation_is_the_one_that_the_code_makes() -> None:
    from tools.write_docs import PAGE, configuration_page

    assert PAGE.read_text(encoding="utf-8") == configuration_page(), "run `make docs`"


def test_a_file_that_is_no_toml_or_is_not_there_says_so(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(path)
    path.write_text("[packing\n")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(path)


def test_the_commands_print_a_starter_the_effective_configuration_and_a_schema(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[packing]\ncontext_length = 8192\n")

    assert "# context_length = 4096" in run("config", "new").output
    assert "context_length = 8192" in run("config", "show", "-c", path).output
    assert "$defs" in json.loads(run("config", "schema").output)


def test_validate_names_what_it_checked_and_fails_on_what_is_not_there(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[tokenizer]\nname = "no/such/tokenizer.json"\n')

    for options in ([], ["--no-environment"]):
        result = run("validate", "-c", path, *options)
        assert result.exit_code == 78
        assert "no/such/tokenizer.json" in result.output


def test_a_configuration_that_names_no_cluster_is_validated_for_files(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(run("config", "new").output)

    result = run("validate", "-c", path)

    assert result.exit_code == 0, result.output
    assert "ready for `curatord curate`" in result.output
    assert "tokenizer tekken" in run("validate", "-c", path, "--no-environment").output


def test_an_embedding_model_that_cannot_be_loaded_is_a_mistake_of_the_configuration(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[embedding]\nmodel = "/no/such/model"\n')

    result = run("validate", "-c", path)

    assert result.exit_code == 78
    assert "embedding.model" in result.output


def test_an_order_that_needs_an_end_is_refused_where_there_is_none() -> None:
    check_endless(parse_config({"mixture": {"schedule": "g2s", "rho": 0.5}}, "test"))
    ordered = parse_config({"mixture": {"schedule": "g2s"}}, "test")
    assert ordered.makes_vectors
    with pytest.raises(ConfigError, match=r"lower rho or raise max_uses, .* or curate files"):
        check_endless(ordered)
