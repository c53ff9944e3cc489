"""Which folders are versions, and which of them a policy chooses."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig

from serving.server.sources import aspired_versions

LATEST, ALL = "latest {}", "all {}"


@pytest.fixture
def base(tmp_path):
    return tmp_path / "base"


def config(base, policy=""):
    text = f'name: "m" base_path: "{base}" model_platform: "tensorflow"'
    return text_format.Parse(f"{text} model_version_policy {{ {policy} }}" if policy else text, ModelConfig())


def make(base, *names):
    for name in names:
        (base / name).mkdir(parents=True)


def chosen(base, policy=""):
    found, _ = aspired_versions(config(base, policy))
    assert found is not None
    assert all(path.startswith(f"{base}/") for path in found.values())
    return {version: path.rsplit("/", 1)[1] for version, path in found.items()}


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ("", [7]),
        (LATEST, [7]),
        ("latest { num_versions: 0 }", [7]),
        ("latest { num_versions: 1 }", [7]),
        ("latest { num_versions: 2 }", [5, 7]),
        ("latest { num_versions: 9 }", [-4, 0, 5, 7]),
        (ALL, [-4, 0, 5, 7]),
        ("specific { versions: 5 }", [5]),
        ("specific { versions: 5 versions: 5 versions: -4 }", [-4, 5]),
        ("specific { versions: 6 versions: 7 }", [7]),
        ("specific { versions: 6 }", []),
        ("specific {}", []),
    ],
)
def test_a_policy_chooses(base, policy, versions):
    make(base, "5", "7", "-4", "0")
    assert sorted(chosen(base, policy)) == versions


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("00000123", 123),
        ("123", 123),
        ("+5", 5),
        ("-3", -3),
        ("-0", 0),
        (" 8 ", 8),
        ("9223372036854775807", (1 << 63) - 1),
        ("-9223372036854775808", -(1 << 63)),
    ],
)
def test_a_name_that_reads_as_an_integer_is_a_version(base, name, version):
    make(base, name)
    assert chosen(base, ALL) == {version: name}


@pytest.mark.parametrize(
    "name",
    [
        *("", "v1", "1.0", "1e3", "0x10", "1_000", "--1", "- 1", "1 2", "٣", "²", "latest", ".incoming-1", "1.tmp"),
        *("9223372036854775808", "-9223372036854775809", "9" * 200),
    ],
)
def test_any_other_name_is_not(base, name):
    make(base, "1", *([name] if name else []))
    assert chosen(base, ALL) == {1: "1"}


def test_of_two_folders_for_one_version_the_last_by_name_is_served(base):
    make(base, "01", "1", "001")
    assert chosen(base, ALL) == {1: "1"}
    assert chosen(base, "latest { num_versions: 2 }") == {1: "1"}


def test_a_specific_version_is_found_under_its_padded_name(base):
    make(base, "0042", "43")
    assert chosen(base, "specific { versions: 42 }") == {42: "0042"}


def test_a_file_that_is_named_like_a_version_counts(base):
    """It cannot be loaded, and that is told; to skip it silently would serve an older version."""
    make(base, "1")
    (base / "2").touch()
    assert chosen(base) == {2: "2"}


def test_links_are_versions_like_any_other(base, tmp_path):
    make(tmp_path / "elsewhere", "9")
    base.mkdir()
    (base / "3").symlink_to(tmp_path / "elsewhere" / "9")
    (base / "4").symlink_to(tmp_path / "nowhere")
    assert chosen(base, ALL) == {3: "3", 4: "4"}


def test_an_empty_base_path_has_no_versions(base):
    base.mkdir()
    for policy in (LATEST, ALL, "specific { versions: 1 }"):
        found, complaint = aspired_versions(config(base, policy))
        assert found == {}
        assert f"No versions of servable m found under base path {base}" in complaint


@pytest.mark.parametrize("path", ["missing", "file", "nul\\000byte"])
def test_a_base_path_that_cannot_be_read_is_told_and_changes_nothing(tmp_path, path):
    """An empty result would unload what is served."""
    (tmp_path / "file").touch()
    found, complaint = aspired_versions(config(tmp_path / path))
    assert found is None
    assert f"Could not find base path {tmp_path}" in complaint
    assert "for servable m" in complaint
