"""Transformed examples → the batches that a model is fitted on: read in blocks, shuffled, kept for the next epoch.

An element of the data set is a block of rows wherever it can be: what each element costs by itself, in reading, in
parsing and in shuffling, is paid once a block. Features of a type are columns of one matrix until a batch is made of
them, since that too is paid by each tensor. Where the examples have no blocks (`models.blocks`), they are parsed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf
import tensorflow_transform as tft

from models.blocks import BLOCK_ROWS, Block, Columns, blocks_path
from models.config import TrainingConfig
from schema.errors import DataError

_OPEN_FILES = 128
"""At once, each with its buffers and its connection."""

_TAKEN_IN_TURN = 16
"""Rows of one file before those of the next."""

_MEBIBYTE = 2**20

_EXCHANGES = 4
"""In which a buffer's worth of rows goes through the buffer of the shuffle, each of which copies it."""

_as_it_is = tf.autograph.experimental.do_not_convert
"""To convert functions without branches takes longer than to build all else of a data set."""


def examples_dataset(
    patterns: list[str], transform: tft.TFTransformOutput, label: str, training: TrainingConfig, *, shuffle: bool
) -> tf.data.Dataset:
    """Batches of (inputs by name, label float32 [batch]) from transformed examples.

    Shuffled, each epoch has its own order. It is the same for the same seed, whatever is kept in memory.

    Args:
        patterns: Of the files, gzipped TFRecords.
        transform: Of the Transform component that made them.
        label: The name of the label.
        training: Says how large batches are, what to shuffle by, and what to keep in memory.
        shuffle: For training; otherwise the order is that of the files, taken in turn, and nothing is kept.

    Raises:
        DataError: There are no transformed examples.
    """
    files = sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
    if not files:
        raise DataError("There are no transformed examples", where=", ".join(patterns))
    columns = Columns(transform.transformed_feature_spec())
    at_once = 1 if training.newest_last else min(len(files), _OPEN_FILES)
    is_random = shuffle and not training.newest_last and len(files) > _OPEN_FILES
    seed = training.seed if is_random else None
    rows, parse = _rows(files, columns, at_once, seed)
    blocks = rows.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    if shuffle:
        if training.epochs > 1 and seed is None:  # else the order differs between epochs, and so would what is kept
            blocks = _kept(rows, parse, training.cache_mib * _MEBIBYTE // (columns.row_bytes * BLOCK_ROWS))
        blocks = _shuffled(blocks, training.shuffle_rows, training.seed)
    to_model = _as_it_is(functools.partial(columns.inputs_and_label, label=label))
    batches = blocks.rebatch(training.batch_size).map(to_model)
    options = tf.data.Options()
    options.experimental_warm_start = True  # reads while the model is still being traced
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _rows(
    files: list[str], columns: Columns, at_once: int, seed: int | None
) -> tuple[tf.data.Dataset, Callable[..., Block]]:
    """The rows of the files, a block's worth together, and what makes a block of them."""
    taken = BLOCK_ROWS if at_once == 1 else _TAKEN_IN_TURN
    folders = {blocks_path(file).rpartition("/")[0] for file in files}
    known = {path for folder in folders for path in tf.io.gfile.glob(f"{folder}/*")}
    read_block = _as_it_is(columns.read)

    def blocks(file: tf.Tensor) -> tf.data.Dataset:
        return _records(file).map(read_block).rebatch(taken)

    if known.issuperset(map(blocks_path, files)):
        return _read([blocks_path(file) for file in files], at_once, seed, blocks), _as_it_is(lambda *block: block)
    return _read(files, at_once, seed, lambda file: _records(file).batch(taken)), _as_it_is(columns.parse)


def _records(file: tf.Tensor) -> tf.data.Dataset:
    return tf.data.TFRecordDataset(file, compression_type="GZIP")


def _read(
    files: list[str], at_once: int, seed: int | None, read: Callable[[tf.Tensor], tf.data.Dataset]
) -> tf.data.Dataset:
    """A few rows of each file in turn; one file after the other if `at_once` is 1.

    With a seed, each epoch reads the files themselves in a random order, so that what is open is of all.
    """
    names = tf.data.Dataset.from_tensor_slices(files)
    if seed is not None:
        names = names.shuffle(len(files), seed=seed, reshuffle_each_iteration=True)
    return names.interleave(_as_it_is(read), cycle_length=at_once).rebatch(BLOCK_ROWS)


def _kept(rows: tf.data.Dataset, parse: Callable[..., Block], most: int) -> tf.data.Dataset:
    """Blocks, of which so many are parsed in the first epoch only and stay in memory.

    What does not fit is read and parsed again. If everything fits the files are not read again.
    """
    if not most:
        return rows.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    kept = rows.take(most).map(parse, num_parallel_calls=tf.data.AUTOTUNE).cache()
    last = kept.skip(most - 1)  # is there, once the others have been read, if there may be more than fit
    rest = rows.skip(most).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return kept.concatenate(last.flat_map(_as_it_is(lambda *block: rest)))


def _shuffled(blocks: tf.data.Dataset, rows: int, seed: int) -> tf.data.Dataset:
    """The rows as `Dataset.shuffle` with a buffer of single rows shuffles them, but many at once.

    What is read takes random places in the buffer, and what was there goes on. An empty block marks the end, after
    which all goes on that is left. Since many leave together, a row comes as far as with a buffer of single rows that
    is a sixth smaller.
    """
    empty = tuple(tf.zeros([0, each.shape[1]], each.dtype) for each in blocks.element_spec)
    read = blocks.rebatch(max(1, rows // _EXCHANGES)).concatenate(tf.data.Dataset.from_tensors(empty))
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)
    exchange = _as_it_is(functools.partial(_exchange, rows))
    return tf.data.Dataset.zip(seeds, read).scan(empty, exchange).prefetch(1)


def _exchange(most: int, buffer: Block, read: tuple[tf.Tensor, Block]) -> tuple[Block, Block]:
    """The buffer after a block has come in, and what left it for that."""
    seed, block = read
    coming = tf.shape(block[0])[0]
    added = tf.minimum(coming, most - tf.shape(buffer[0])[0])
    buffer = tuple(tf.concat([old, new[:added]], axis=0) for old, new in zip(buffer, block, strict=True))
    held = tf.shape(buffer[0])[0]
    leaving = tf.where(coming == 0, held, coming - added)
    some = tf.range(tf.maximum(leaving, 1))  # the operation refuses none
    places = tf.random.experimental.index_shuffle(some, seed, tf.maximum(held, 1) - 1)[:leaving]
    left = tuple(tf.gather(matrix, places) for matrix in buffer)

    def exchanged() -> Block:
        rows = places[:, tf.newaxis]
        pairs = zip(buffer, block, strict=True)
        return tuple(tf.tensor_scatter_nd_update(matrix, rows, new[added:]) for matrix, new in pairs)

    return tf.cond(coming == 0, lambda: tuple(matrix[:0] for matrix in buffer), exchanged), left
