"""What the browser needs to know which inputs each unit sees, without asking the kernel."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import traitlets
from bqplot.traits import array_serialization
from traittypes import Array

from dlwidgets.marks.model import Model

MAX_TERMS = 8
"""A field is sent as a union of at most this many products."""

MAX_BOX_ENTRIES = 4_000_000
"""The greatest table of boxes that is sent, in numbers."""

Term = Sequence[tuple[int, Any]]
"""For each input axis: the output axis it depends on (-1: none), and which input positions are seen, a bool matrix with
a row for each position on that output axis (one row if it depends on none) and a column for each input position."""

Query = Callable[[str, tuple[int, ...]], Any]


class FieldMap(Model):
    """Which input positions each unit of a layer can see; links a `Raster` of the units and one of the input.

    In mode ``"products"`` every field is a union of up to eight products of per-axis sets, and the browser answers
    alone. In mode ``"query"`` it knows a box around every field, shows that at once, labelled "bound", and asks the
    function given to `on_query` for the true cells: one question at a time, the newest first, answers remembered.

    A picture shows the last two axes of each side; `out_at` and `in_at` say where it cuts through the axes before them.
    A single axis runs along the columns.
    """

    _model_name = traitlets.Unicode("FieldMapModel").tag(sync=True)
    _view_name = traitlets.Unicode(None, allow_none=True).tag(sync=True)

    mode = traitlets.Enum(["products", "query"], default_value="products").tag(sync=True)
    generation = traitlets.Int(0, help="Counts the tables shown; a question and its answer belong to one.").tag(
        sync=True
    )
    out_shape = traitlets.List(traitlets.Int(min=1), help="The sizes of the output axes.").tag(sync=True)
    in_shape = traitlets.List(traitlets.Int(min=1), help="The sizes of the input axes.").tag(sync=True)
    out_at = traitlets.List(traitlets.Int(min=0), help="Positions on the output axes before the last two.").tag(
        sync=True
    )
    in_at = traitlets.List(traitlets.Int(min=0), help="Positions on the input axes before the last two.").tag(sync=True)
    bits = Array(None, allow_none=True, help="The packed matrices, uint8; see js/src/field/packed.ts.").tag(
        sync=True, **array_serialization
    )
    index = Array(None, allow_none=True, help="int32 (terms, input axes, 2): output axis and place in `bits`.").tag(
        sync=True, **array_serialization
    )
    boxes = Array(None, allow_none=True, help="int32 (*out_shape, input axes, 2): start and stop, in query mode.").tag(
        sync=True, **array_serialization
    )
    windows = Array(
        None,
        allow_none=True,
        help="float64 (input axes, 4): output axis, jump, size and start padding; NaN where no such number exists.",
    ).tag(sync=True, **array_serialization)
    label = traitlets.Unicode("", help="What the layer is called in words.").tag(sync=True)
    status = traitlets.Enum(["exact", "bound"], default_value="exact", help="bound: a superset.").tag(sync=True)
    because = traitlets.Unicode("", help="The operation responsible for a bound.").tag(sync=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._query: Query | None = None
        self.on_msg(self._hear)

    @classmethod
    def pack(
        cls, terms: Sequence[Term], out_shape: Sequence[int], in_shape: Sequence[int], **traits: Any
    ) -> "FieldMap":
        """A map in mode ``"products"``; see `show_products`."""
        field_map = cls()
        field_map.show_products(terms, out_shape, in_shape, **traits)
        return field_map

    def show_products(
        self, terms: Sequence[Term], out_shape: Sequence[int], in_shape: Sequence[int], **traits: Any
    ) -> None:
        """Show other fields, each the union of one product a term, in one message.

        Args:
            terms: up to eight, see `Term`; none at all means that no unit sees anything.
            out_shape: the sizes of the output axes.
            in_shape: the sizes of the input axes, at least one.
            **traits: others to set, such as ``label``, ``windows`` or ``status``.

        Raises:
            ValueError: too many terms, or a matrix of another shape than its axes say.
        """
        bits, index = pack_terms(terms, out_shape, in_shape)
        self._show(
            mode="products", bits=bits, index=index, boxes=None, out_shape=out_shape, in_shape=in_shape, **traits
        )

    def show_boxes(self, boxes: Any, out_shape: Sequence[int], in_shape: Sequence[int], **traits: Any) -> None:
        """Show bounds, a box for every unit, and ask the function of `on_query` for the fields themselves.

        Args:
            boxes: integers (*out_shape, input axes, 2): start and stop (exclusive) on each input axis, equal if
                the unit sees nothing.
            out_shape: the sizes of the output axes.
            in_shape: the sizes of the input axes.
            **traits: others to set.

        Raises:
            ValueError: another shape, or more than four million numbers.
        """
        table = np.asarray(boxes, dtype=np.int32)
        expected = (*out_shape, len(in_shape), 2)
        if table.shape != expected:
            raise ValueError(f"boxes has shape {table.shape}, expected {expected}")
        if table.size > MAX_BOX_ENTRIES:
            raise ValueError(f"boxes holds {table.size} numbers, at most {MAX_BOX_ENTRIES} can be sent")
        self._show(mode="query", bits=None, index=None, boxes=table, out_shape=out_shape, in_shape=in_shape, **traits)

    def on_query(self, query: Query | None) -> None:
        """Have ``query(role, index)`` answer the browser's questions.

        ``role`` is "unit" or "input", ``index`` the unit or input position. It returns a bool mask over the input axes
        (over the output axes for "input"), or None to answer later with `answer`. It runs in the thread that handles
        messages, so one that takes long should only enqueue.
        """
        self._query = query

    def answer(self, role: str, index: Sequence[int], mask: Any, generation: int | None = None) -> None:
        """Send what is seen from ``index`` to the browser: a bool mask over the other side's axes, None if unknown.

        ``generation`` is that of the table which the question was about, default the present one; an answer about an
        older table is not shown.
        """
        cell = [0, 0, *index][-2:]
        buffers = [] if mask is None else [_pack(np.asarray(mask, dtype=bool).reshape(1, -1)).tobytes()]
        content = {"type": "field", "role": role, "cell": [int(i) for i in cell]}
        self.send({**content, "generation": self.generation if generation is None else generation}, buffers=buffers)

    def _show(self, **traits: Any) -> None:
        traits.setdefault("status", "exact")
        traits.setdefault("because", "")
        traits.setdefault("windows", None)
        with self.hold_sync():
            self.generation += 1
            for name, value in traits.items():
                if not self.has_trait(name):
                    raise TypeError(f"FieldMap got an unknown argument {name!r}")
                setattr(self, name, [int(i) for i in value] if name.endswith(("shape", "_at")) else value)

    def _hear(self, _: Any, content: Any, __: Any) -> None:
        if not isinstance(content, dict) or content.get("type") != "query" or self._query is None:
            return
        if content.get("generation") != self.generation:  # about a table that the browser is about to forget
            return
        role, cell = content["role"], [int(i) for i in content["cell"]]
        shape, at = (self.out_shape, self.out_at) if role == "unit" else (self.in_shape, self.in_at)
        leading = [*at, *[0] * len(shape)][: max(len(shape) - 2, 0)]
        index = tuple([*leading, *cell][len(leading) + 2 - len(shape) :])
        mask = None
        try:
            mask = self._query(role, index)
        except Exception:
            self.answer(role, index, None)
            raise
        if mask is not None:
            self.answer(role, index, mask)

    @traitlets.validate("windows")
    def _check_windows(self, proposal: Any) -> Any:
        windows = proposal["value"]
        if windows is None:
            return None
        windows = np.asarray(windows, dtype=np.float64)
        if windows.ndim != 2 or windows.shape[1] != 4:
            raise traitlets.TraitError(f"windows must be (input axes, 4), got {windows.shape}")
        return windows


def pack_terms(
    terms: Sequence[Term], out_shape: Sequence[int], in_shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The matrices of all terms, a bit an entry, and where each starts: the `bits` and `index` of a `FieldMap`.

    Every row is padded to whole bytes, and the lowest bit of a byte comes first. Matrices that are equal are sent once.
    """
    if len(terms) > MAX_TERMS:
        raise ValueError(f"terms has {len(terms)} entries, at most {MAX_TERMS} can be sent")
    if len(in_shape) == 0:
        raise ValueError("in_shape needs at least one axis")
    index = np.zeros((len(terms), len(in_shape), 2), dtype=np.int32)
    chunks: dict[bytes, int] = {}
    length = 0
    for number, term in enumerate(terms):
        if len(term) != len(in_shape):
            raise ValueError(f"term {number} has {len(term)} input axes, expected {len(in_shape)}")
        for axis, (output_axis, matrix) in enumerate(term):
            if not -1 <= output_axis < len(out_shape):
                raise ValueError(f"term {number}, input axis {axis}: there is no output axis {output_axis}")
            matrix = np.asarray(matrix, dtype=bool)
            expected = (1 if output_axis < 0 else out_shape[output_axis], in_shape[axis])
            if matrix.shape != expected:
                raise ValueError(f"term {number}, input axis {axis}: got a matrix {matrix.shape}, expected {expected}")
            packed = _pack(matrix).tobytes()
            if packed not in chunks:
                chunks[packed] = length
                length += len(packed)
            index[number, axis] = output_axis, chunks[packed]
    return np.frombuffer(b"".join(chunks), dtype=np.uint8), index


def _pack(matrix: np.ndarray) -> np.ndarray:
    return np.packbits(matrix, axis=-1, bitorder="little")
