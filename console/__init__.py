"""Where people meet Pratique."""

import os

# else Pydantic searches all that is installed, at every start, for plugins that may change what it accepts
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
