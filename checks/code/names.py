"""Names that a source reaches for: modules, functions and attributes, and what each of them means."""

from __future__ import annotations

import re
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NETWORK = _words(
    "socket ssl urllib urllib2 urllib3 http httplib requests httpx aiohttp websocket websockets ftplib smtplib poplib "
    "imaplib telnetlib nntplib xmlrpc xmlrpclib socketserver paramiko fabric grpc boto3 botocore s3fs gcsfs pycurl "
    "_socket _ssl asyncore asynchat smtpd wsgiref "
    "dns zmq pika kafka redis pymongo psycopg psycopg2 pymysql twisted "
    "tornado flask fastapi uvicorn webbrowser huggingface_hub wandb mlflow sentry_sdk posthog pip"
)
QUIET_PARTS = frozenset(("urllib.parse", "urllib.error", "http.HTTPStatus", "http.cookies"))
PROGRAMS = _words("subprocess _posixsubprocess pty commands popen2 sh pexpect plumbum invoke ensurepip venv")
NATIVE = _words("ctypes _ctypes cffi _cffi_backend cppyy llvmlite pyximport")
STARTS = re.compile(
    r"(?:os|posix|nt)\.(?:system|popen\w*|exec\w+|spawn\w+|posix_spawnp?|fork|forkpty|startfile)"
    r"|asyncio\.create_subprocess_\w+|distutils\.spawn\.\w+|platform\.popen"
)
CONNECTS = re.compile(
    r"asyncio\.(?:open_(?:unix_)?connection|start_(?:unix_)?server)|multiprocessing\.(?:connection|managers)\b.*"
    r"|torch\.hub\.\w+|torch\.distributed\.(?:init_process_group|rpc\..+|\w*Store)|numpy\.(?:lib\.npyio\.)?DataSource"
    r"|logging\.handlers\.(?:Socket|Datagram|SysLog|HTTP|SMTP)Handler"
    r"|.+\.(?:create_connection|create_datagram_endpoint|create_unix_connection|create_(?:unix_)?server|sock_connect)"
)
LOADS_NATIVE = re.compile(
    r"(?:numpy\.)?ctypeslib\.load_library|torch\.(?:ops|classes)\.load_library|torch\.utils\.cpp_extension\.\w+"
    r"|sys\.setdlopenflags|_imp\.create_dynamic|cython\.inline|mmap\.PROT_EXEC"
    r"|.+\.(?:load_op_library|register_custom_ops_library|enable_load_extension|load_extension)"
)
LOADS_CODE = re.compile(
    r"runpy\.run_\w+|zipimport\.\w+|code\.(?:Interactive\w+|interact)|imp\.load_\w+|importlib\.machinery\.\w*Loader"
    r"|importlib\.util\.spec_from_\w+|sys\.(?:meta_path|path_hooks)|site\.addsitedir"
    r"|(?:importlib\._bootstrap|_frozen_importlib)(?:_external)?\..+|_imp\.\w+"
    r"|pkgutil\.(?:resolve_name|get_loader|find_loader|get_importer|iter_importers|Imp\w+)|pydoc\.(?:locate|resolve|safeimport)"
    r"|logging\.config\._resolve|(?:cProfile|profile|pdb|timeit)\.(?:run\w*|timeit|repeat)|(?:bdb|pdb|trace)\.(?:Bdb|Pdb|Trace)"
)
LOADER_SETTINGS = frozenset(("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"))
INSIDES = _words("__globals__ __code__ __builtins__ __subclasses__ __mro__ f_globals f_builtins")
PAST_ITS_NAME = re.compile(
    r"(?:builtins|__builtins__)\.(?:exec|eval|compile|__import__)|(?:os|posix|nt|builtins|sys|importlib)\.__(?:dict|getattribute)__"
)
STARTS_BY_LOOP = re.compile(r".+\.subprocess_(?:exec|shell)|get_ipython")
REACHING: Final = _words("os posix nt builtins sys importlib")
"""Modules that reach far, and that programs use by the names of what they call."""
BORROWED: Final = _words("socket subprocess ctypes pty")
"""Modules of the standard library that other modules of it hold too (`platform.subprocess`)."""
MEMORY = re.compile(r"/proc/(?:self|thread-self|[0-9]{1,10})/mem")
CODE_IN_TEXT = re.compile(
    r"\b__import__\s{0,8}\(|\bos\.(?:system|popen)\s{0,8}\(|\bsubprocess\.\w{1,20}\s{0,8}\(|\bsocket\.socket\s{0,8}\("
)
ADDRESS = re.compile(r"(?:https?|ftps?|s3|gs|wss?)://")
READS_ADDRESS = re.compile(r"(?:read|load|fetch|download|url)\w*|open|imread|GFile|from_pretrained")
ARCHIVE_NAME = re.compile(r"[^/]*[^./]\.[A-Za-z0-9]{1,8}")
PATH_OF_MODULES = re.compile(r"sys\.path\.(?:insert|append|extend)")
PLAIN_CODECS = re.compile(
    r"utf[-_]?8(?:[-_]sig)?|u8|(?:us[-_])?ascii|latin[-_]?1|l1|iso[-_]?8859[-_]\d{1,2}|(?:cp|windows[-_])125\d"
)
COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
DECODERS = re.compile(
    r"(?:base64|binascii|zlib|gzip|bz2|lzma|marshal|codecs|quopri|uu)\.\w*(?:decode|decompress|unhexlify|a2b|loads?)\w*"
    r"|(?:bytes|bytearray)\.fromhex|b(?:16|32|64|85)decode|a85decode|unhexlify|decompress|fromhex"
)
RUNS: Final = _words("exec eval compile execfile __import__ runsource runcode")
MAKES_CODE = re.compile(
    r"marshal\.loads?|(?:types\.)?(?:CodeType|FunctionType)|importlib\.util\.(?:decode_source|module_from_spec)"
    r"|\w+\.__(?:globals|code|builtins|subclasses|mro)__|__builtins__"
)
LOADS_NAMED: Final = frozenset(("__import__", "importlib.import_module", "importlib.__import__", "import_module"))
IN_TEXT: Final = (
    ("network", re.compile(rf"^\s*(?:import|from)\s+(?:{'|'.join(sorted(NETWORK))})\b")),
    (
        "subprocess",
        re.compile(rf"^\s*(?:import|from)\s+(?:{'|'.join(sorted(PROGRAMS))})\b|\b(?:{STARTS.pattern})\s*\("),
    ),
    ("native-code", re.compile(rf"^\s*(?:import|from)\s+(?:{'|'.join(sorted(NATIVE))})\b")),
    ("hidden-code", re.compile(rf"\b(?:exec|eval)\b.*(?:{DECODERS.pattern})|\bmarshal\.loads?\s*\(")),
)
BY_NAME: Final = (
    (STARTS, "subprocess", "which starts programs"),
    (STARTS_BY_LOOP, "subprocess", "which starts programs"),
    (CONNECTS, "network", "which reaches for the network"),
    (LOADS_NATIVE, "native-code", "which loads native code"),
    (LOADS_CODE, "computed-import", "which loads code past the import statement"),
    (MAKES_CODE, "hidden-code", "through which code can be reached or made"),
    (PAST_ITS_NAME, "hidden-code", "by which code is run past its own name"),
)
HANDED_ON: Final = frozenset(("exec", "eval", "__import__"))
