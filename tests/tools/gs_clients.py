"""What the clients of a pipeline do on gs://, each through its own library; a script whose answer is JSON.

python gs_clients.py gs://BUCKET/FOLDER
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def tensorflow_files(root: str) -> list[Any]:
    """A file is written, read, appended to, found, moved with its folder, and removed."""
    import tensorflow as tf

    gfile = tf.io.gfile
    gfile.makedirs(f"{root}/a")
    with gfile.GFile(f"{root}/a/b/file", "w") as file:
        file.write("hel")
    with gfile.GFile(f"{root}/a/b/file", "a") as file:
        file.write("lo")
    gfile.rename(f"{root}/a/b/file", f"{root}/a/b/moved")
    gfile.rename(f"{root}/a", f"{root}/c")
    found = [path.removeprefix(root) for path in gfile.glob(f"{root}/c/*/*")]
    seen = [gfile.isdir(f"{root}/c/b"), gfile.exists(f"{root}/c/b/file"), gfile.stat(f"{root}/c/b/moved").length]
    with gfile.GFile(f"{root}/c/b/moved") as file:
        read = file.read()
    gfile.rmtree(f"{root}/c")
    return [read, found, *seen, gfile.glob(f"{root}/c/*/*")]


def tensorflow_records(root: str) -> list[int]:
    """More than one block of a compressed file, as tf.data reads it; its size is one for all clients."""
    import numpy as np
    import tensorflow as tf

    path, random = f"{root}/records.gz", np.random.default_rng(0)
    with tf.io.TFRecordWriter(path, "GZIP") as writer:
        for _ in range(100):
            writer.write(random.bytes(10_000))
    records = list(tf.data.TFRecordDataset(path, compression_type="GZIP").as_numpy_iterator())
    return [len(records), sum(map(len, records))]


def tensorflow_model(root: str) -> list[float]:
    """A model's variables survive: as SavedModel, loaded eagerly and in a Session, and as checkpoint."""
    import tensorflow as tf

    class Doubling(tf.Module):
        def __init__(self) -> None:
            self.factor = tf.Variable(2.0)

        @tf.function
        def __call__(self, number: tf.Tensor) -> tf.Tensor:
            return self.factor * number

    module = Doubling()
    signature = module.__call__.get_concrete_function(tf.TensorSpec([]))
    tf.saved_model.save(module, f"{root}/model", signatures=signature)
    eager = float(tf.saved_model.load(f"{root}/model")(tf.constant(3.0)))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        [graph] = [tf.compat.v1.saved_model.load(session, ["serve"], f"{root}/model").signature_def["serving_default"]]
        in_session = float(session.run(graph.outputs["output_0"].name, {graph.inputs["number"].name: 4.0}))
    checkpoint = tf.train.Checkpoint(module=module)
    path = checkpoint.save(f"{root}/checkpoints/c")
    module.factor.assign(0.0)
    checkpoint.restore(path).assert_consumed()
    return [eager, in_session, float(module.factor)]


def fsspec_and_beam(root: str) -> list[Any]:
    """Each sees what the others wrote."""
    import tensorflow as tf
    from apache_beam.io.filesystems import FileSystems
    from upath import UPath

    (UPath(root) / "shared" / "fsspec").write_text("by fsspec")
    with FileSystems.create(f"{root}/shared/part") as file:
        file.write(b"by Beam")
    FileSystems.rename([f"{root}/shared/part"], [f"{root}/shared/beam"])
    with tf.io.gfile.GFile(f"{root}/shared/tensorflow", "w") as file:
        file.write("by TensorFlow")
    names = ("beam", "fsspec", "tensorflow")
    with_beam = [FileSystems.open(f"{root}/shared/{name}").read().decode() for name in names]
    with_fsspec = [(UPath(root) / "shared" / name).read_text() for name in names]
    with_tensorflow = [tf.io.gfile.GFile(f"{root}/shared/{name}").read() for name in names]
    listed = sorted(metadata.path for metadata in FileSystems.match([f"{root}/shared/*"])[0].metadata_list)
    FileSystems.delete([f"{root}/shared/"])
    left = [path.name for path in (UPath(root) / "shared").parent.iterdir() if path.name == "shared"]
    return [with_beam == with_fsspec == with_tensorflow, with_beam, [path.removeprefix(root) for path in listed], left]


def refusals(root: str) -> list[str]:
    """What TensorFlow says where there is no bucket, and where it may not write."""
    import tensorflow as tf

    said = []
    for bucket in ("gs://nowhere", "gs://closed"):
        try:
            with tf.io.gfile.GFile(f"{bucket}/file", "w") as file:
                file.write("text")
        except tf.errors.OpError as error:
            said.append(type(error).__name__)
    return said


STEPS: tuple[Callable[[str], list[Any]], ...] = (
    tensorflow_files,
    tensorflow_records,
    tensorflow_model,
    fsspec_and_beam,
    refusals,
)

if __name__ == "__main__":
    print(json.dumps({step.__name__: step(sys.argv[1]) for step in STEPS}))
