"""The opcodes of a pickle, checked before anything of it is built."""

import pickletools
from collections.abc import Set
from io import BytesIO
from typing import Any

_MAX_OPERATIONS = 5_000_000  # a data frame of AGORA has one or two million
MAX_DEPTH = 100

_CONSTANTS = {
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT",
    "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CHANGING = {"APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "BUILD"}  # the value below
_OPCODES = _CONSTANTS | _CHANGING | {
    "PROTO", "FRAME", "STOP", "MARK", "BYTEARRAY8", "EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT", "EMPTY_SET",
    "LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "DICT", "FROZENSET", "POP", "POP_MARK", "DUP", "PUT",
    "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE",
    "NEWOBJ", "INST", "OBJ",
}  # fmt: skip


def scan(stream: BytesIO, also: Set[str] = frozenset()) -> None:
    """Checks the opcodes of one pickle, which the stream is then behind, without building anything.

    Keys of dictionaries must be constants: the hash of a tuple of tuples that refer to each other, 40 deep,
    takes 2^40 steps.

    Args:
        stream: of pickles.
        also: further opcodes to allow.

    Raises:
        ValueError: for an opcode that plain data does not need, or too many of them.
    """
    # Of values only the depth is followed: 0 for constants, which may be keys.
    stack: list[int] = []
    below: list[list[int]] = []
    memo: dict[int, int] = {}
    arg: Any
    for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
        name, taken = opcode.name, opcode.stack_before
        if name not in _OPCODES and name not in also:
            raise ValueError(f"the pickle uses {name}, which plain data does not need")
        if count > _MAX_OPERATIONS:
            raise ValueError(f"the pickle has more than {_MAX_OPERATIONS} operations")
        if name == "MARK":
            below.append(stack)
            stack = []
            if len(below) > MAX_DEPTH:
                raise ValueError("the pickle is nested too deeply")
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name.endswith("PUT"):
            if not 0 <= arg <= count:  # the unpickler allocates a table of this length
                raise ValueError("the pickle numbers its objects beyond their count")
            memo[arg] = stack[-1]
        elif name.endswith("GET"):
            stack.append(memo[arg])
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP" and not stack:
            stack = below.pop()
        else:
            items: list[int] = []
            if pickletools.markobject in taken:
                items, stack = stack, below.pop()
                taken = taken[: taken.index(pickletools.markobject)]
            if len(stack) < len(taken):
                raise ValueError("damaged pickle")
            operands = stack[len(stack) - len(taken) :]
            if name == "SETITEM":
                keys = operands[1:2]
            elif name in ("SETITEMS", "DICT"):
                keys = items[::2]
            else:
                keys = items if name in ("ADDITEMS", "FROZENSET") else []
            if any(keys):
                raise ValueError("the pickle has keys that are neither text nor numbers")
            del stack[len(stack) - len(taken) :]
            depth = 0
            if name not in _CONSTANTS:
                changed = operands.pop(0) if name in _CHANGING else 0
                depth = max(changed, 1 + max((*operands, *items), default=0))
            if depth > MAX_DEPTH:
                raise ValueError("the pickle is nested too deeply")
            stack += [depth] * len(opcode.stack_after)
