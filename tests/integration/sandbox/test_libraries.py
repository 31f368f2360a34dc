"""The libraries that tools are made of work under the seccomp profile and the limits, in several processes."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from checks.interface import Level
from checks.sandboxed.executed import judge_executed
from checks.sandboxed.forbidden import judge_forbidden
from checks.sandboxed.judging import Judgement
from sandbox.engine import Engine
from sandbox.observe.helper_image import build_archive, python_closure, with_shared_libraries
from sandbox.record import SandboxRun
from sandbox.spec import MIB, Mount

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Sandboxed

pytestmark = [pytest.mark.docker, pytest.mark.slow]

PACKAGES = ("numpy", "numpy.libs", "scipy", "scipy.libs", "sklearn", "scikit_learn.libs", "joblib", "cloudpickle",
            "threadpoolctl.py", "nibabel", "pydicom", "packaging", "typing_extensions.py", "narwhals")  # fmt: skip

PROGRAM = """
import multiprocessing

def square(x):
    return x * x

if __name__ == "__main__":
    import numpy as np
    a = np.random.default_rng(0).normal(size=(300, 300))
    print("numpy", float((a @ a.T).trace()) > 0)
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
    on = [name for name in __cpu_dispatch__ if __cpu_features__[name]]
    print("avx512", [name for name in on if "512" in name or name == "X86_V4"])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print("multiprocessing", pool.map(square, range(4)))
    from joblib import Parallel, delayed
    print("loky", Parallel(n_jobs=2, backend="loky")(delayed(square)(i) for i in range(4)))
    from sklearn.ensemble import RandomForestClassifier
    forest = RandomForestClassifier(10, n_jobs=2, random_state=0).fit(a, a[:, 0] > 0)
    print("sklearn", forest.score(a, a[:, 0] > 0) > 0.9)
    import nibabel
    nibabel.save(nibabel.Nifti1Image(a.astype("float32"), np.eye(4)), "/output/a.nii.gz")
    print("nibabel", nibabel.load("/output/a.nii.gz").shape)
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset("/output/a.dcm", {}, file_meta=meta, preamble=bytes(128))
    data.PatientID = "P1"
    data.save_as("/output/a.dcm")
    print("pydicom", pydicom.dcmread("/output/a.dcm").PatientID)
"""

OBSERVED = {"network": "sinkhole"}


def complaints(run: SandboxRun) -> list[str]:
    """What the containment check would hold against these libraries, as far as this machine can observe it."""
    judgement = Judgement("containment", "0")
    judge_executed(judgement, run)
    judge_forbidden(judgement, run)
    return [f"{one.message} {one.where}" for one in judgement.findings if one.level is not Level.NOTE]


SKIPPED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "__pycache__"}


@pytest.fixture(scope="module")
def library_image(engine: Engine) -> str:
    """Python with its whole standard library, and the C++ runtime."""
    library = Path(sysconfig.get_path("stdlib"))
    files = python_closure(("encodings.idna",))
    for path in library.rglob("*"):
        if path.suffix in {".py", ".so"} and path.is_file() and not SKIPPED & set(path.relative_to(library).parts):
            files[str(path)] = path.resolve()
    for directory in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/usr/lib64"):
        for name in ("libstdc++.so.6", "libgcc_s.so.1", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libz.so.1"):
            path = Path(directory) / name
            if path.exists() and not any(known.endswith("/" + name) for known in files):
                files[str(path)] = path.resolve()
    files = with_shared_libraries(files)
    archive, digest, diff_id = build_archive(files)

    def write(stream: BinaryIO) -> None:
        stream.write(archive)

    return engine.load_archive(write, ids=(digest,), diff_ids=(diff_id,))


def test_arrays_forests_pools_and_images_work(sandboxed: Sandboxed, library_image: str, tmp_path: Path) -> None:
    """numpy, multiprocessing, joblib with loky, scikit-learn, nibabel, pydicom."""
    found = importlib.util.find_spec("numpy")
    assert found is not None
    assert found.origin is not None
    site = Path(found.origin).parent.parent
    wanted = [*(site / name for name in PACKAGES), *site.glob("pydicom-*.dist-info")]
    mounts = [Mount(source=path, target=f"/input/packages/{path.name}") for path in wanted if path.exists()]
    (tmp_path / "tool.py").write_text(PROGRAM)
    outcome = sandboxed(
        "",
        image=library_image,
        inputs=[*mounts, Mount(source=tmp_path / "tool.py", target="/input/tool/tool.py")],
        request={
            "entrypoint": ("/usr/bin/python3", "-S", "/input/tool/tool.py"),
            "argv": (),
            "environment": {"PYTHONPATH": "/input/packages"},
        },
        spec=OBSERVED,
        memory=1024 * MIB,
        wall_seconds=120.0,
    )
    assert outcome.run.exit_code == 0, outcome.log
    assert outcome.lines == [
        "numpy True",
        "avx512 []",
        "multiprocessing [0, 1, 4, 9]",
        "loky [0, 1, 4, 9]",
        "sklearn True",
        "nibabel (300, 300)",
        "pydicom P1",
    ]
    assert [file.path for file in outcome.run.outputs] == ["a.dcm", "a.nii.gz"]
    assert complaints(outcome.run) == []


TORCH_PACKAGES = ("torch", "torchgen", "functorch", "numpy", "numpy.libs", "sympy", "mpmath", "networkx", "jinja2",
                  "markupsafe", "fsspec", "filelock", "typing_extensions.py", "packaging")  # fmt: skip

TORCH_PROGRAM = """
import torch
torch.manual_seed(0)
torch.set_num_threads(2)
x = torch.randn(256, 8)
y = (x.sum(1) > 0).float()
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
for _ in range(60):
    optimiser.zero_grad()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)
    loss.backward()
    optimiser.step()
print("loss", loss.item() < 0.2)

class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 32
    def __getitem__(self, index):
        return x[index]

if __name__ == "__main__":
    loader = torch.utils.data.DataLoader(Rows(), batch_size=8, num_workers=2, multiprocessing_context="fork")
    print("loader", sum(len(batch) for batch in loader))
    torch.save(model.state_dict(), "/output/model.pt")
    print("reload", len(torch.load("/output/model.pt", weights_only=True)))
"""


@pytest.mark.privacy
def test_torch_trains_and_loads_data_in_workers(sandboxed: Sandboxed, library_image: str, tmp_path: Path) -> None:
    """Threads, worker processes with shared memory, saving and loading."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        pytest.skip("the privacy extra (PyTorch) is not installed")
    site = Path(found.origin).parent.parent
    wanted = [site / name for name in TORCH_PACKAGES if (site / name).exists()]
    (tmp_path / "tool.py").write_text(TORCH_PROGRAM)
    outcome = sandboxed(
        "",
        image=library_image,
        inputs=[
            *(Mount(source=path, target=f"/input/packages/{path.name}") for path in wanted),
            Mount(source=tmp_path / "tool.py", target="/input/tool/tool.py"),
        ],
        request={
            "entrypoint": ("/usr/bin/python3", "-S", "/input/tool/tool.py"),
            "argv": (),
            "environment": {"PYTHONPATH": "/input/packages"},
        },
        spec=OBSERVED,
        memory=2048 * MIB,
        wall_seconds=120.0,
    )
    assert outcome.run.exit_code == 0, outcome.log[-3000:]
    assert outcome.lines[-3:] == ["loss True", "loader 32", "reload 4"]
    assert complaints(outcome.run) == []
