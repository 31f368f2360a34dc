"""Makes the small model files beside it with the libraries that they are named after, on PyPI's versions of the day.

Run by hand in a virtual environment of its own, never by the tests and never in the product's:
`pip install numpy scikit-learn joblib lz4 xgboost-cpu lightgbm catboost keras jax h5py onnx skops gguf pyarrow rdata
tflite zstandard`, then `KERAS_BACKEND=numpy python tests/assets/models/make.py`. `made_by.json` tells what made which.
`make.R` makes the models of R, with `Rscript` and Debian's r-cran-randomforest and r-cran-survival.
"""

# mypy: disable-error-code="import-not-found, import-untyped, misc"
# none of these libraries is the product's

from __future__ import annotations

import json
import pickle
import subprocess
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

FILES = Path(__file__).with_name("files")
MADE_BY: dict[str, str] = {}


def made(name: str, package: str, write: Callable[[Path], Any]) -> None:
    """Write the file `name` with `package`."""
    write(FILES / name)
    MADE_BY[name] = f"{package} {version(package)}"


def pickled(value: Any) -> Callable[[Path], Any]:
    """How a value is pickled."""
    return lambda path: path.write_bytes(pickle.dumps(value, protocol=4))


def boosted(x: Any, y: Any) -> None:
    """XGBoost, LightGBM, CatBoost."""
    import lightgbm
    import xgboost
    from catboost import CatBoostClassifier

    model = xgboost.XGBClassifier(n_estimators=2, max_depth=2, callbacks=[xgboost.callback.EarlyStopping(2)])
    model.fit(x, y, eval_set=[(x, y)], verbose=False)
    made("xgboost.json", "xgboost-cpu", model.save_model)
    made("xgboost.ubj", "xgboost-cpu", model.save_model)
    made("xgboost.deprecated", "xgboost-cpu", model.save_model)
    made("xgboost-classifier.pkl", "xgboost-cpu", pickled(model))
    made("xgboost-booster.pkl", "xgboost-cpu", pickled(model.get_booster()))
    light = lightgbm.LGBMClassifier(n_estimators=2, num_leaves=3, verbose=-1).fit(x, y)
    made("lightgbm.txt", "lightgbm", light.booster_.save_model)
    made("lightgbm-classifier.pkl", "lightgbm", pickled(light))
    made("lightgbm-booster.pkl", "lightgbm", pickled(light.booster_))
    cat = CatBoostClassifier(iterations=2, depth=2, verbose=0, allow_writing_files=False).fit(x, y)
    made("catboost.cbm", "catboost", lambda path: cat.save_model(str(path)))
    made("catboost.onnx", "catboost", lambda path: cat.save_model(str(path), format="onnx"))
    made("catboost.pmml", "catboost", lambda path: cat.save_model(str(path), format="pmml"))
    made("catboost.mlmodel", "catboost", lambda path: cat.save_model(str(path), format="coreml"))
    made("catboost-classifier.pkl", "catboost", pickled(cat))


def keras_files() -> None:
    """Keras, on its numpy backend."""
    import keras

    layers = [keras.Input((2,)), keras.layers.Dense(2, activation="relu"), keras.layers.Dropout(0.5)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer=keras.optimizers.SGD(), loss=keras.losses.BinaryCrossentropy(), metrics=["accuracy"])
    made("keras.keras", "keras", model.save)
    made("keras.h5", "keras", model.save)
    made("keras.weights.h5", "keras", model.save_weights)
    made("keras-architecture.json", "keras", lambda path: path.write_text(model.to_json()))
    given = keras.Input((8, 8, 1))
    path = keras.layers.MaxPooling2D()(keras.layers.Conv2D(1, 3, padding="same", activation="gelu")(given))
    both = keras.layers.Concatenate()([keras.layers.UpSampling2D()(path), given])
    net = keras.Model(given, keras.layers.Conv2D(1, 1)(keras.layers.LeakyReLU()(both)) + 0.5)
    made("keras-unet-architecture.json", "keras", lambda path: path.write_text(net.to_json()))


def hdf5_files() -> None:
    """HDF5 of both forms, and files of it that lead to others."""
    import h5py
    import numpy as np

    def write(path: Path, lead: str = "", libver: str = "latest", groups: int = 24, **more: Any) -> None:
        with h5py.File(path, "w", libver=libver, track_order=libver == "latest", **more) as file:
            for number in range(groups):
                file.create_group(f"g{number:03}")
            file["g000"].create_dataset("d", data=np.zeros((4, 4)), chunks=(2, 2), compression="gzip")
            file["soft"] = h5py.SoftLink("/g000/d")
            if lead == "link":
                file["zz"] = h5py.ExternalLink("/etc/passwd", "/a")
            elif lead == "storage":
                file.create_dataset("zz", (4,), "f8", external=[("/etc/passwd", 0, 32)])
            elif lead == "virtual":
                layout = h5py.VirtualLayout((4,), "f8")
                layout[:] = h5py.VirtualSource("other.h5", "d", (4,))
                file.create_virtual_dataset("zz", layout)

    made("hdf5-old-form.h5", "h5py", lambda path: write(path, libver="earliest"))
    made("hdf5-new-form.h5", "h5py", write)
    made("hdf5-many-links.h5", "h5py", lambda path: write(path, groups=140))
    made("hdf5-user-block.h5", "h5py", lambda path: write(path, libver="earliest", userblock_size=512))
    for lead in ("link", "storage", "virtual"):
        made(f"leads-out-by-{lead}.h5", "h5py", lambda path, lead=lead: write(path, lead))
    made("leads-out-by-link-old-form.h5", "h5py", lambda path: write(path, "link", libver="earliest"))


def hdf5_values() -> None:
    """Pickles made by hand, which begin as none does, wherever HDF5 keeps a value that readers unpickle."""
    import h5py
    import numpy as np

    harmless = b"Vposix\nVsystem\n\x93(Vtrue\ntR."

    def write(path: Path, where: str, libver: str = "latest", length: int = 0) -> None:
        with h5py.File(path, "w", libver=libver) as file:
            for number in range(60 if where == "dense-attribute" else 0):
                file.attrs[f"a{number:02}"] = np.bytes_(b"a")
            if where == "value":
                values = file.create_dataset("v", (2,), dtype=h5py.vlen_dtype(np.uint8))
                values[0], values[1] = np.zeros(3, np.uint8), np.frombuffer(harmless, np.uint8)
            else:
                file.attrs["a99"] = np.bytes_(harmless + b"a" * length)

    made("pickle-in-attribute-old-form.h5", "h5py", lambda path: write(path, "attribute", "earliest"))
    made("pickle-in-dense-attribute.h5", "h5py", lambda path: write(path, "dense-attribute"))
    made("pickle-in-large-attribute.h5", "h5py", lambda path: write(path, "dense-attribute", length=5000))
    made("pickle-in-value.h5", "h5py", lambda path: write(path, "value"))


def other_files(x: Any, y: Any) -> None:
    """ONNX, skops, GGUF, Arrow, R, TensorFlow Lite, and what is packed."""
    import gguf
    import joblib
    import numpy as np
    import onnx
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet
    import rdata
    import skops.io
    import zstandard
    from onnx import TensorProto, helper
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("x", "z")]
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1, 2, 3, 4])
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("MatMul", ["y", "w"], ["z"])]
    model = helper.make_model(helper.make_graph(nodes, "graph", value[:1], value[1:], [weights]))
    made("onnx.onnx", "onnx", lambda path: onnx.save(model, path))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    made("skops.skops", "skops", lambda path: skops.io.dump(pipeline, path))
    made("joblib-lz4.joblib", "joblib", lambda path: joblib.dump(pipeline, path, compress=("lz4", 3)))
    packed = zstandard.compress(pickle.dumps(pipeline))
    made("pickle.pkl.zst", "zstandard", lambda path: path.write_bytes(packed))

    def language_model(path: Path) -> None:
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
        writer.add_tensor("t", np.zeros((2, 2), dtype=np.float32))
        for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            step()
        writer.close()

    made("gguf.gguf", "gguf", language_model)

    class PythonType(pa.ExtensionType):  # what `pyarrow.PyExtensionType` was
        def __init__(self) -> None:
            super().__init__(pa.int64(), "arrow.py_extension_type")

        def __arrow_ext_serialize__(self) -> bytes:
            return b"."

    table = pa.table({"a": [1, 2]})
    typed = pa.table({"a": pa.ExtensionArray.from_storage(PythonType(), pa.array([1, 2], pa.int64()))})
    made("table.parquet", "pyarrow", lambda path: pa.parquet.write_table(table, path))
    made("table.feather", "pyarrow", lambda path: pa.feather.write_feather(table, path))
    made("python-type.parquet", "pyarrow", lambda path: pa.parquet.write_table(typed, path))
    made("python-type.feather", "pyarrow", lambda path: pa.feather.write_feather(typed, path))
    made("r-table.rds", "rdata", lambda path: rdata.write_rds(path, {"a": [1, 2], "b": ["x", "y"]}))
    made("r-table.rda", "rdata", lambda path: rdata.write_rda(path, {"table": {"a": [1.5], "b": ["x"]}}))
    for custom in ("", "Mfcc", "FlexErf", "Mine"):
        name = f"tflite{custom and '-'}{custom.lower()}.tflite"
        made(name, "tflite", lambda path, custom=custom: path.write_bytes(lite(custom)))


def lite(custom: str) -> bytes:
    """A TensorFlow Lite model of two operators, one of which may be `custom`."""
    import flatbuffers

    # the package hides these modules behind classes of the same names
    Model, OperatorCode = import_module("tflite.Model"), import_module("tflite.OperatorCode")
    builder = flatbuffers.Builder(0)
    name = builder.CreateString(custom) if custom else None
    codes = []
    for own in (None, name):
        OperatorCode.OperatorCodeStart(builder)
        OperatorCode.OperatorCodeAddBuiltinCode(builder, 32 if own else 9)
        if own:
            OperatorCode.OperatorCodeAddCustomCode(builder, own)
        codes.append(OperatorCode.OperatorCodeEnd(builder))
    Model.ModelStartOperatorCodesVector(builder, len(codes))
    for code in reversed(codes):
        builder.PrependUOffsetTRelative(code)
    vector = builder.EndVector()
    Model.ModelStart(builder)
    Model.ModelAddVersion(builder, 3)
    Model.ModelAddOperatorCodes(builder, vector)
    builder.Finish(Model.ModelEnd(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def of_r() -> None:
    """Models of R."""
    command = ["Rscript", str(Path(__file__).with_suffix(".R")), str(FILES)]
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        name, by = line.split("\t")
        MADE_BY[name] = by


def main() -> None:
    """Entry point."""
    import numpy as np

    warnings.filterwarnings("ignore")
    FILES.mkdir(exist_ok=True)
    x = np.random.default_rng(7).normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    boosted(x, y)
    keras_files()
    hdf5_files()
    hdf5_values()
    other_files(x, y)
    of_r()
    Path(__file__).with_name("made_by.json").write_text(json.dumps(MADE_BY, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
