"""Which files of an image the static checks will want to read, judged by name and by the first bytes.

Generous on purpose: a file kept in vain costs a little disk, a model file that nobody looked at costs more.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache

from pratique.intake.image.model import FileClass
from pratique.intake.image.pickled import looks_like_pickle

HEAD = 4096
"""How many first bytes of a file are looked at."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SYSTEM = _words(
    """etc/os-release usr/lib/os-release etc/debian_version etc/alpine-release etc/redhat-release etc/passwd etc/group
    etc/shadow etc/gshadow etc/ld.so.preload etc/ld.so.conf etc/sudoers etc/environment etc/apk/repositories"""
)
PACKAGE_DATABASES = _words(
    """var/lib/dpkg/status lib/apk/db/installed usr/lib/apk/db/installed var/lib/rpm/Packages var/lib/rpm/Packages.db
    var/lib/rpm/rpmdb.sqlite usr/lib/sysimage/rpm/Packages usr/lib/sysimage/rpm/Packages.db
    usr/lib/sysimage/rpm/rpmdb.sqlite usr/share/rpm/rpmdb.sqlite var/lib/rpm/rpmdb.sqlite-wal
    usr/lib/sysimage/rpm/rpmdb.sqlite-wal usr/share/rpm/rpmdb.sqlite-wal"""
)
"""Where package managers keep what they know."""
_COPYRIGHT = re.compile(r"usr/share/doc/[^/]+/copyright")
_COPYRIGHT_FORM = re.compile(rb"\s*Format(?:-Specification)?:", re.IGNORECASE)
_DPKG_FOLDERS = ("var/lib/dpkg/status.d/", "var/lib/dpkg/info/")
_PYTHON_METADATA = re.compile(
    r"\.(?:dist-info/(?:METADATA|RECORD|WHEEL|INSTALLER|top_level\.txt|entry_points\.txt|direct_url\.json)"
    r"|egg-info/(?:PKG-INFO|SOURCES\.txt|top_level\.txt|installed-files\.txt|requires\.txt)|egg-info)$"
    r"|/_?vendor(?:ed)?(?:/vendor)?\.txt$|/EGG-INFO/PKG-INFO$"
)
_PYTHON_STARTUP = re.compile(r"(?:\.pth|(?:^|/)(?:sitecustomize|usercustomize)\.py)$")
_PYTHON_VERSION = re.compile(
    r"(?:-packages/[^/]+/__init__|-packages/(?:[^/]+/){1,3}(?:_version|version|__about__))\.py$"
)
_VERSION_FILES = frozenset(("_version.py", "__version__.py", "version.py", "__about__.py"))
_VERSION_TUPLE = re.compile(rb"^[ \t]*VERSION(?:_INFO)?[ \t]*[:=]", re.MULTILINE)
_NODE = frozenset(("package.json", "package-lock.json", "yarn.lock", "pnpm-lock.yaml", ".package-lock.json"))
_BUNDLED = re.compile(r"\.(?:libs|dylibs)/[^/]+\.(?:so|dylib)[^/]*$")
_BUNDLED_BYTES = 16 * 1024**2
_SECRET_NAMES = _words(
    """id_rsa id_dsa id_ecdsa id_ed25519 .netrc .pgpass .pypirc .npmrc .git-credentials .htpasswd .env credentials
    kubeconfig .dockercfg config.json.key service-account.json credentials.json .dockerconfigjson .vault-token .my.cnf
    .s3cfg rclone.conf application_default_credentials.json _netrc kaggle.json"""
)
_SECRET_PATHS = re.compile(
    r"(?:^|/)(?:\.docker/config\.json|\.aws/credentials|\.kube/config|\.ssh/[^/]+|\.git/config|[^/]*\.env(?:\.[\w-]+)?"
    r"|[^/]+\.(?:ppk|kubeconfig)|kubernetes/admin\.conf)$"
)
_MODEL_SUFFIXES = _words(
    """pkl pickle p dill cloudpickle joblib jbl sav npy npz pt pth pt2 ptl ckpt bin model mdl mar pmml onnx ort tflite
    lite h5 hdf5 keras pb cpb savedmodel safetensors gguf ggml skops xgb ubj lgb cbm rds rdata rda mat nemo torchscript
    params weights pbtxt caffemodel mlmodel t7 msgpack parquet feather arrow data-00000-of-00001 engine plan trt"""
)
_SOURCE_SUFFIXES = _words(
    """py pyw sh bash r jl js mjs cjs ts rb pl lua php java go ipynb txt md rst env cfg conf config ini toml yaml yml
    json xml properties sql dockerfile tf cwl jinja jinja2"""
)
_SOURCE_NAMES = frozenset(("Dockerfile", "Makefile", "Jenkinsfile", "Procfile", "entrypoint", "run", "config"))
_INSTALLED = re.compile(
    r"^(?:usr/(?:local/)?(?:lib|lib32|lib64|share|include|src/linux)|lib|lib64|var/lib|var/cache|etc/ssl|boot)/"
    r"|(?:^|/)(?:(?:site|dist)-packages|node_modules|lib/python3(?:\.[0-9]+)?|conda-meta|pkgs)/"
)
_SOURCE_BYTES = 256 * 1024
RIEGELI = b"\x83\xaf\x70\xd1\x0d\x88\x4a\x3f"
"""How a file of records begins in which TensorFlow keeps graphs in chunks (`saved_model.cpb`)."""
_STARTS = (
    b"\x93NUMPY",
    b"\x89HDF\r\n\x1a\n",
    b"GGUF",
    b"RDX2\n",
    b"RDX3\n",
    b"RDA2\n",
    b"RDA3\n",
    b"ggml",
    b"lmgg",
    b"MATLAB 5.0 MAT",
    b"PAR1",
    b"ARROW1\0\0",
    b"FEA1",
    RIEGELI,
)
_COMPRESSED = (
    b"BZh",
    b"\xfd7zXZ\x00",
    b"LZIP",
    b"ZF0x",
    b"\x04\x22\x4d\x18",
    b"\x02\x21\x4c\x18",
    b"\x28\xb5\x2f\xfd",
    *(bytes((0x50 | low,)) + b"\x2a\x4d\x18" for low in range(16)),  # what unpackers of zstandard and lz4 pass over
)
_LZMA_NAMES = (".xz", ".lzma")
_LZMA_HEADER = 14
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_GZIP = b"\x1f\x8b\x08"
_ZIP = b"PK\x03\x04"
_OPENINGS = (*_STARTS, *_COMPRESSED, *_ZLIB, _ZIP)
_JSON = re.compile(rb"[\0\xff\xfe\xef\xbb\xbf \t\r\n]*[{\[]")
_XML = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*<")
_GZIP_RATIO = 1032
"""A byte of gzip data unpacks to as many at most."""


def looks_like_model(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` is of a format of models or serialised objects, a zip, or
    compressed data of that kind.
    """
    if _opens_model(head, size):
        return True
    if head.startswith(_GZIP):
        inner = _gunzipped(head)
        return not inner or _opens_model(inner, size * _GZIP_RATIO) or inner.startswith(_GZIP)
    return False


def _opens_model(head: bytes, size: int) -> bool:
    if head.startswith(_OPENINGS) or head[4:8] == b"TFL3" or is_lzma(head):
        return True
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 27:
        return True  # safetensors: the length of a JSON header, then the header
    if _JSON.match(head) and b'"class_name"' in head.replace(b"\0", b""):
        return True  # a configuration of Keras, which names what its loader imports
    if _XML.match(head) and (b"<PMML" in head or b"<net name=" in head):
        return True
    return looks_like_pickle(head, size)


def is_lzma(head: bytes, name: str = "") -> bool:
    """Whether `head` begins LZMA's old form, which has no mark, as liblzma finds it out itself (`FORMAT_AUTO`).

    joblib asks for one byte of properties only, `]`; by the names `.xz` and `.lzma` it may be any.
    """
    properties = head[:1] == b"]" or (name.lower().endswith(_LZMA_NAMES) and head[:1] < b"\xe1")
    if len(head) < _LZMA_HEADER or not properties or head[_LZMA_HEADER - 1]:
        return False
    window, length = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    ones = window.bit_count()
    whole = ones <= 1 or (ones == 2 and window & (window >> 1)) or ones == 32
    return bool(whole) and (length < 1 << 38 or length == (1 << 64) - 1)


@lru_cache(maxsize=1)  # two questions are asked of each file
def _gunzipped(head: bytes) -> bytes:
    """The first bytes inside gzip data; empty when they lie beyond `head`, a single zero byte when it is damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        return b"\0"


def _is_tar(head: bytes) -> bool:
    inner = _gunzipped(head) if head.startswith(_GZIP) else head
    return inner[257:262] == b"ustar"


def _is_source(path: str, name: str, head: bytes, size: int) -> bool:
    if not head or size > _SOURCE_BYTES or b"\0" in head or _INSTALLED.search(path):
        return False
    return name in _SOURCE_NAMES or head.startswith(b"#!") or name.rpartition(".")[2].lower() in _SOURCE_SUFFIXES


def classify(path: str, head: bytes, size: int = 0) -> FileClass | None:
    """Why the content of the file at `path`, of `size` bytes, should be kept, None where it need not be."""
    name = path.rpartition("/")[2]
    if path in _SYSTEM or path.startswith("etc/ld.so.conf.d/"):
        return FileClass.SYSTEM
    if path in PACKAGE_DATABASES or (path.startswith(_DPKG_FOLDERS) and name.endswith((".list", ".md5sums"))):
        return FileClass.PACKAGE_DATABASE
    if path.startswith("var/lib/dpkg/status.d/"):
        return FileClass.PACKAGE_DATABASE
    if _COPYRIGHT.fullmatch(path) and _COPYRIGHT_FORM.match(head):  # free text is of no use to anybody here
        return FileClass.PACKAGE_DATABASE
    if _PYTHON_METADATA.search(path):
        return FileClass.PYTHON_METADATA
    if name in _NODE and head.lstrip()[:1] == b"{":  # no format of models begins so, but one may be imitated
        return FileClass.NODE_METADATA
    if looks_like_model(head, size):
        return FileClass.MODEL
    if name.lower().endswith(_LZMA_NAMES) and is_lzma(head, name):
        return FileClass.MODEL
    if _is_tar(head) or (head.startswith(b"#!") and _ZIP in head):  # a zip behind a line for the shell: pex, zipapp
        return FileClass.ARCHIVE
    if size <= _BUNDLED_BYTES and _BUNDLED.search(path):
        return FileClass.BUNDLED
    if _PYTHON_STARTUP.search(path):
        return FileClass.PYTHON_STARTUP
    if _PYTHON_VERSION.search(path):
        return FileClass.PYTHON_VERSION
    if name in _NODE:
        return FileClass.NODE_METADATA
    if name in _SECRET_NAMES or _SECRET_PATHS.search(path) or b"PRIVATE KEY-----" in head[:200]:
        return FileClass.SECRET
    if size > _SOURCE_BYTES and name.lower().endswith(".json") and not _INSTALLED.search(path):
        return FileClass.MODEL  # a configuration of Keras may begin with anything
    if head and "." in name and name.rpartition(".")[2].lower() in _MODEL_SUFFIXES:
        return FileClass.MODEL
    if _is_source(path, name, head, size):
        return FileClass.SOURCE
    return FileClass.PYTHON_VERSION if name.endswith(".py") and _states(name, head) else None


def states_version_only(path: str) -> bool:
    """Whether a Python file is called like those that state a version and do nothing else."""
    return path.rpartition("/")[2] in _VERSION_FILES


def _states(name: str, head: bytes) -> bool:
    """Whether a Python file may say which version its package is: copies of packages have nothing else that does."""
    if b"version" in head and (b"__version" in head or b"version_info" in head or name in _VERSION_FILES):
        return True
    return b"VERSION" in head and _VERSION_TUPLE.search(head) is not None
