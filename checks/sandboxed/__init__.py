"""Checks that run the tool: does it do what its manifest says, what does it try, what does it leak, is it repeatable.

`ToolRunner` turns values into one confined run; `SandboxSession` makes the few runs that the checks share.
"""

from __future__ import annotations
