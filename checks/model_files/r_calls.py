"""Calls in R's data: formulas, and the expressions by which a model finds its variables again.

Nothing of them runs when the data are read. `predict` evaluates what a model's terms say, `update` its call: a call of
`system` among them runs then. What is called there is judged by its name; where the name is not written, or a function
is handed on to be called, nobody can tell.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final


class Role(Enum):
    """What an item of R is to the one around it."""

    DATA = auto()
    HEAD = auto()
    """What a call calls."""
    ARGUMENTS = auto()
    """The list of a call's arguments, or the rest of it."""
    ARGUMENT = auto()
    TAG = auto()
    FUNCTION = auto()
    """An argument whose name says that it is called."""
    LOOKED_UP = auto()
    """The list of arguments of a function that looks something up by name, or the rest of it."""
    BY_NAME = auto()
    """One of them."""
    OPERATOR = auto()
    """What is called is itself a call: of what."""
    PATH = auto()
    """The arguments of that call: `base` and `system` of `base::system("id")`."""
    PATH_REST = auto()
    PACKAGE = auto()
    NAME = auto()


def _words(text: str) -> frozenset[bytes]:
    return frozenset(text.encode().split())


_RUNS: Final = _words(
    """system system2 shell shell.exec pipe fifo open socketConnection serverSocket socketAccept make.socket url
    url.show browseURL download.file curlGetHeaders nsl install.packages update.packages remove.packages
    contrib.url source sys.source dyn.load library.dynam library require requireNamespace loadNamespace attachNamespace
    attach .Call .C .Fortran .External .External2 .External.graphics .Call.graphics .Internal .Primitive unlink
    file.remove file.rename file.copy file.create file.append file.symlink file.link file.edit file.show dir.create
    write writeLines writeBin writeChar write.table write.csv write.csv2 write.dcf cat sink dput dump save save.image
    saveRDS savehistory serialize unserialize load setwd q quit assign delayedAssign makeActiveBinding reg.finalizer
    addTaskCallback setHook trace options assignInNamespace assignInMyNamespace unlockBinding registerS3method
    registerS3methods setMethod evalCpp sourceCpp cppFunction py_run_string py_run_file mcparallel makeCluster edit fix
    vi emacs pico xedit xemacs R.home debugger recover browser Rprof Rprofmem untar unzip zip tar"""
)
_HANDS_ON: Final = _words(
    """do.call match.fun eval evalq eval.parent eval_tidy eval_bare parse parse_expr parse_exprs str2lang str2expression
    call as.call as.function body<- formals<- environment<- exec inject invoke Recall getAnywhere getFromNamespace
    getExportedValue getMethod selectMethod forceAndCall tryInvokeRestart withCallingHandlers tryCatch on.exit lapply
    sapply vapply rapply eapply mapply apply tapply Map Reduce Filter Find Position Vectorize outer aggregate by ave
    sweep reorder optim optimize optimise optimHess nlm nlminb uniroot integrate mclapply parLapply parSapply
    clusterCall clusterApply clusterEvalQ clusterExport pmap imap"""
)
"""Functions that call what they are given, or make code of it."""
_LOOKS_UP = _words("get get0 mget dynGet getFunction existsFunction as.name as.symbol")
_PLACES = _words("envir pos mode inherits ifnotfound where as.environment")
"""Arguments of those which say where to look."""
_PARTS = _words(":: ::: $ @")
_PACKAGES = _words("processx callr sys reticulate Rcpp inline rJava V8 curl httr httr2 RCurl ssh remotes devtools pak")
"""Packages for programs, for other languages and for the network."""
_HARMLESS = _words("Sys.time Sys.Date Sys.getlocale Sys.timezone Sys.localeconv")
_OF_SYSTEM = b"Sys."
_NAMES = b"|".join(re.escape(name) for name in sorted(_RUNS | _HANDS_ON, key=len, reverse=True))
_WRITTEN = re.compile(rb"(?:\A|[^\w.])(" + _NAMES + rb"|Sys\.\w+)[`'\"\s]*\(")
_CALLED = re.compile(rb"[fF](?:[nN]|[uU][nN]?.*)?|\.f|what")
"""Names of arguments that are functions; R takes the first letters of a name for it."""
_WHEN = "which runs when the model is used"
MAX_NAME = 32
"""Bytes of the longest name that matters here."""
ODD_CALL = f"a call of something that is computed, {_WHEN}"


def odd_name(role: Role, name: bytes) -> str:
    """Why nothing of this name should stand there; empty where it may."""
    if role in (Role.HEAD, Role.NAME, Role.FUNCTION, Role.BY_NAME):
        if name in _RUNS or (name.startswith(_OF_SYSTEM) and name not in _HARMLESS):
            return f"a call of {name.decode('latin-1')} in R's data, {_WHEN}"
        if name in _HANDS_ON:
            return f"a call of {name.decode('latin-1')}, by which R calls what it is given, {_WHEN}"
    if role is Role.PACKAGE and name in _PACKAGES:
        return f"a call of a function of the package {name.decode('latin-1')}, {_WHEN}"
    return ODD_CALL if role is Role.OPERATOR and name not in _PARTS else ""


def odd_text(text: bytes) -> str:
    """Why a text should not stand in a call, of which a formula may be made."""
    found = _WRITTEN.search(text)
    return f"a text with a call of {found[1].decode('latin-1')}, {_WHEN}" if found else ""


def looks_up(name: bytes) -> bool:
    """Whether a function looks something up by a name that it is given."""
    return name in _LOOKS_UP


def tagged(role: Role, tag: bytes) -> Role:
    """What an argument is, by the name before it."""
    if role is Role.BY_NAME and tag in _PLACES:
        return Role.ARGUMENT
    return Role.FUNCTION if role is Role.ARGUMENT and _CALLED.fullmatch(tag) else role


OF_CALL: Final = {Role.HEAD: (Role.OPERATOR, Role.PATH)}
"""What the two cells of a call are where it is not just (`HEAD`, `ARGUMENTS`)."""
OF_LIST: Final = {
    Role.ARGUMENTS: (Role.ARGUMENT, Role.ARGUMENTS),
    Role.LOOKED_UP: (Role.BY_NAME, Role.LOOKED_UP),
    Role.PATH: (Role.PACKAGE, Role.PATH_REST),
    Role.PATH_REST: (Role.NAME, Role.ARGUMENTS),
}
"""What value and rest are in a list of arguments."""
