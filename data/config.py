"""The `data:` section of a pipeline's YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from schema.strict import Strict

SPAN = "{SPAN}"


class SourceConfig(Strict):
    """Where the data lies, and how it is written."""

    format: Literal["parquet", "csv"] = "parquet"
    path: Annotated[str, Field(min_length=1)]
    """A glob of files. With `{SPAN}` in it, the digits in its place number the spans: data/span-{SPAN}/*.parquet"""

    @field_validator("path")
    @classmethod
    def _at_most_one_span(cls, path: str) -> str:
        if path.count(SPAN) > 1:
            raise ValueError(f"may hold {SPAN} once, not {path.count(SPAN)} times")
        return path

    @property
    def has_spans(self) -> bool:
        """Whether the path tells spans apart."""
        return SPAN in self.path


class WindowConfig(Strict):
    """A rolling window over spans: the newest span evaluates, the `train` spans before it train."""

    train: PositiveInt = 10
    newest: NonNegativeInt | Literal["latest"] = "latest"
    """The span that evaluates: the latest there is, or a number (to repeat history)."""


class SplitConfig(Strict):
    """A random split by a hash of the example, for data without time."""

    train: PositiveInt = 8
    eval: PositiveInt = 2


class DropConfig(Strict):
    """Rows without a value in the column `missing` are left out, for a stated reason."""

    missing: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]


class DataConfig(Strict):
    """What becomes examples. Exactly one of `window` and `split` says how they are divided."""

    source: SourceConfig
    window: WindowConfig | None = None
    split: SplitConfig | None = None
    drop: tuple[DropConfig, ...] = ()

    @model_validator(mode="after")
    def _one_division(self) -> DataConfig:
        if (self.window is None) == (self.split is None):
            raise ValueError(
                "expects exactly one of `window` (the newest span evaluates) and `split` (a random hash split)"
            )
        if self.window and not self.source.has_spans:
            raise ValueError(f"`window` needs spans: put {SPAN} into source.path, or use `split`")
        return self
