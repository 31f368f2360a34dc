"""Import names of packages that are often copied into others, with the names that PyPI has for them.

Chosen by hand: packages that advisories keep speaking of, and those that tools of this field vendor. A name that is
missing here is still found inside directories for copies (`_vendor`, `extern`), whatever it is called.
"""

from __future__ import annotations

_OTHERWISE = {
    "Crypto": "pycryptodome",
    "Cryptodome": "pycryptodomex",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "_yaml": "PyYAML",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "git": "GitPython",
    "google": "protobuf",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "ldap": "python-ldap",
    "magic": "python-magic",
    "markdown": "Markdown",
    "memcache": "python-memcached",
    "multipart": "python-multipart",
    "nacl": "PyNaCl",
    "pkg_resources": "setuptools",
    "pytorch_lightning": "pytorch-lightning",
    "ruamel": "ruamel.yaml",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "socks": "PySocks",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
_LIKEWISE = """
aiohttp asn1crypto babel bleach boto3 botocore bottle celery certifi chardet charset_normalizer click cloudpickle
colorama cryptography cycler dask decorator defusedxml dill distlib distro django docutils ecdsa filelock flask fsspec
gevent gradio greenlet gunicorn h11 h2 h5py html5lib httplib2 httpx huggingface_hub idna importlib_metadata
itsdangerous jinja2 joblib jsonschema keras langchain lightgbm lxml mako markupsafe matplotlib mistune mlflow mpmath
msgpack networkx nibabel notebook numpy onnx onnxruntime oauthlib packaging pandas paramiko passlib pexpect pip
pkginfo platformdirs ply psutil pyarrow pyasn1 pycparser pydantic pydicom pygments pymongo pynetdicom pyparsing
pyperclip pysftp pytz ray redis requests rich rsa safetensors scapy scipy sentencepiece setuptools simplejson six
skops sqlalchemy sqlparse starlette streamlit sympy tensorboard tensorflow tokenizers toml tomli torch torchvision
tornado tqdm transformers twisted typing_extensions ujson urllib3 uvicorn virtualenv waitress webob websockets
werkzeug wheel xgboost xmltodict yarl zipp
"""

KNOWN_MODULES = {name: name for name in _LIKEWISE.split()} | _OTHERWISE
"""PyPI's name by the name under which a package is imported."""

NAMESPACES = frozenset(("google", "ruamel"))
"""Names under which many packages put their modules."""

ALSO_FROM = {
    "Crypto": ("pycrypto",),
    "PIL": ("pillow-simd",),
    "cv2": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "jwt": ("jwt",),
    "magic": ("file-magic",),
    "mlflow": ("mlflow-skinny", "mlflow-tracing"),
    "multipart": ("multipart",),
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-training"),
    "tensorflow": ("tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly"),
    "xgboost": ("xgboost-cpu",),
}
"""Packages that bring a module under the same name, and whose own advisories speak of them."""
