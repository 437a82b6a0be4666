"""Traces the lineage of a product's table by what the recorded runs read and wrote.

The service gathers the runs, and these pure functions walk them. A table's producer is the run that
wrote the exact snapshot that was read. If no recorded run did (for a view, or an expired history),
it is the newest run that had ended before the reader began. A view's tables are read when the view
itself is read. The run that created the view only says which tables these are.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from app.runs.model import Run, RunInput, RunKind

BRONZE = "bronze/"


class NodeType(StrEnum):
    SOURCE = "source"
    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"
    DATA_PRODUCT = "data_product"
    CONSUMER = "consumer"


@dataclass(frozen=True)
class Node:
    id: str
    type: NodeType
    name: str
    product_id: str | None = None
    """The data product that a table belongs to, if it does."""


@dataclass(frozen=True)
class LineageEdge:
    """Data went from one node to another in the run `run_id`. None: declared, not observed."""

    from_: str
    to: str
    run_id: str | None


@dataclass(frozen=True)
class Build:
    """A run that built a table or a view. `read_at` is when its inputs were read, None for now."""

    run: Run
    read_at: datetime | None

    @classmethod
    def of(cls, run: Run, reader_read_at: datetime | None) -> "Build":
        began = run.started_at or run.created_at
        return cls(run, reader_read_at if _is_view(run) else began)

    @property
    def is_view(self) -> bool:
        return _is_view(self.run)


@dataclass(frozen=True)
class ProductTable:
    product_id: str
    name: str
    consumers: tuple[str, ...]


@dataclass
class Graph:
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[LineageEdge, None] = field(default_factory=dict)

    def add(self, node: Node) -> bool:
        """Add the node and return whether it is new."""
        return self.nodes.setdefault(node.id, node) is node

    def connect(self, start: Node, end: Node, run_id: str | None) -> None:
        self.edges.setdefault(LineageEdge(start.id, end.id, run_id))


@dataclass(frozen=True)
class Lineage:
    upstream: tuple[Node, ...]
    downstream: tuple[Node, ...]
    nodes: tuple[Node, ...]
    edges: tuple[LineageEdge, ...]
    unseen_tables: frozenset[str] = frozenset()
    """Tables that were read in a state that none of the given runs wrote."""
    unseen_runs: frozenset[str] = frozenset()
    """Syncs whose files were read but that are not among the given runs."""


class Tracer:
    """Walks from one table. `writers` are all succeeded runs or those fetched so far, newest first.
    The lineage names the further runs that would make it exact."""

    def __init__(
        self, writers: Iterable[Run], products: Mapping[str, ProductTable], silver_schema: str
    ) -> None:
        self._by_id: dict[str, Run] = {}
        self._by_table: dict[str, list[Run]] = {}
        self._by_path: dict[str, Run] = {}
        for run in writers:
            self._by_id[run.run_id] = run
            if run.kind is not RunKind.INGESTION and run.output is not None:
                self._by_table.setdefault(run.output.table, []).append(run)
            for stream in run.output.streams if run.output else ():
                self._by_path.setdefault(stream.path.strip("/"), run)
        self._products = products
        self._silver = f"{silver_schema}."
        self._unseen_tables: set[str] = set()
        self._unseen_runs: set[str] = set()

    def trace(self, table: str) -> Lineage:
        start = self._node(table)
        up, down = Graph({start.id: start}), Graph({start.id: start})
        self._upstream(start, self._current(table), up)
        self._downstream(start, down)
        return Lineage(
            upstream=tuple(up.nodes.values())[1:],
            downstream=tuple(down.nodes.values())[1:],
            nodes=tuple((up.nodes | down.nodes).values()),
            edges=tuple(up.edges | down.edges),
            unseen_tables=frozenset(self._unseen_tables),
            unseen_runs=frozenset(self._unseen_runs),
        )

    def _upstream(self, start: Node, newest: Run | None, graph: Graph) -> None:
        """Walk depth first. Not by recursion: tables may be built from one another at any depth."""
        open_ = [(start, Build.of(newest, None), iter(newest.inputs))] if newest else []
        while open_:
            end, build, reads = open_[-1]
            above = next(filter(None, (self._above(end, r, build, graph) for r in reads)), None)
            if above is None:
                open_.pop()
            else:
                node, run = above
                open_.append((node, Build.of(run, build.read_at), iter(run.inputs)))

    def _above(
        self, end: Node, read: RunInput, build: Build, graph: Graph
    ) -> tuple[Node, Run] | None:
        """Add what a run read. Return a new table with the run that wrote it, to go on from."""
        if read.table.startswith(BRONZE):
            self._bronze(end, read, build.run, graph)
            return None
        node = self._node(read.table)
        graph.connect(node, end, build.run.run_id)
        writer = self._writer_of(read, build) if graph.add(node) else None
        return (node, writer) if writer else None

    def _bronze(self, end: Node, read: RunInput, reader: Run, graph: Graph) -> None:
        path = read.table.rstrip("/")
        node = Node(path, NodeType.BRONZE, path)
        graph.connect(node, end, reader.run_id)
        if not graph.add(node):
            return
        for sync in self._syncs_of(path, read.run_ids):
            for name in dict.fromkeys(item.source or item.table for item in sync.inputs):
                source = _source(name)
                graph.add(source)
                graph.connect(source, node, sync.run_id)

    def _downstream(self, start: Node, graph: Graph) -> None:
        open_ = [self._below(start, graph)]
        while open_:
            node = next(open_[-1], None)
            if node is None:
                open_.pop()
            else:
                open_.append(self._below(node, graph))

    def _below(self, start: Node, graph: Graph) -> Iterator[Node]:
        """Add what is built from the node, and yield each new table."""
        product = self._products.get(start.id)
        for consumer in product.consumers if product else ():
            node = Node(f"consumer:{consumer}", NodeType.CONSUMER, consumer)
            graph.add(node)
            graph.connect(start, node, None)
        for table, run in self._readers.get(start.id, ()):
            node = self._node(table)
            graph.connect(start, node, run.run_id)
            if graph.add(node):
                yield node

    @cached_property
    def _readers(self) -> dict[str, list[tuple[str, Run]]]:
        """The tables that are built from each table, with the runs that wrote their current
        state."""
        readers: dict[str, list[tuple[str, Run]]] = {}
        for table, runs in self._by_table.items():
            for name in {read.table for read in runs[0].inputs} - {table}:
                readers.setdefault(name, []).append((table, runs[0]))
        return readers

    @cached_property
    def _folders(self) -> list[tuple[str, int, Run]]:
        """The bronze paths with a slash at the end, so that those below a path are neighbours."""
        paths = enumerate(self._by_path.items())
        return sorted(
            ((f"{path}/", number, run) for number, (path, run) in paths), key=lambda item: item[:2]
        )

    def _current(self, table: str) -> Run | None:
        """Return the run that wrote the current state of the table."""
        return next(iter(self._by_table.get(table, ())), None)

    def _writer_of(self, read: RunInput, build: Build) -> Run | None:
        runs = self._by_table.get(read.table, [])
        if read.snapshot_id and not build.is_view:
            for run in runs:
                if run.output and run.output.snapshot_id == read.snapshot_id:
                    return run
            self._unseen_tables.add(read.table)
        at = build.read_at
        if at is None:
            return self._current(read.table)
        ended_before = (run for run in runs if run.finished_at and run.finished_at <= at)
        writer = next(ended_before, None)
        if writer is None:
            self._unseen_tables.add(read.table)
        return writer

    def _syncs_of(self, path: str, run_ids: tuple[str, ...]) -> list[Run]:
        if run_ids:
            self._unseen_runs.update(id_ for id_ in run_ids if id_ not in self._by_id)
            return [self._by_id[run_id] for run_id in run_ids if run_id in self._by_id]
        # "0" follows "/": everything below the path is between the two.
        first, last = (
            bisect_left(self._folders, f"{path}{end}", key=lambda item: item[0]) for end in "/0"
        )
        newest_first = sorted(self._folders[first:last], key=lambda item: item[1])
        return list({run.run_id: run for _, _, run in newest_first}.values())

    def _node(self, table: str) -> Node:
        product = self._products.get(table)
        if product is not None:
            return Node(table, NodeType.DATA_PRODUCT, table, product.product_id)
        if table.startswith(self._silver):
            return Node(table, NodeType.SILVER, table)
        return Node(table, NodeType.GOLD, table)


def _is_view(run: Run) -> bool:
    """Return whether the run created a view, which has no snapshots."""
    return run.kind is RunKind.DBT and run.output is not None and run.output.snapshot_id is None


def _source(name: str) -> Node:
    return Node(f"source:{name}", NodeType.SOURCE, name)
