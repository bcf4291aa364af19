"""Bundles: a folder with one graph per step and a manifest that says how they belong together."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vsrq.deploy.backend import get_backend
from vsrq.deploy.driver import StepGraph
from vsrq.deploy.plan import Plan
from vsrq.errors import CheckpointError, OutputError, VsrqError

FORMAT = "vsrq-bundle"
VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a bundle says of itself.

    Attributes:
        backend: Name of the backend that wrote the graphs.
        plan: Signatures of the steps.
        frame_size: Height and width the graphs are fixed to, or ``None`` if they take any.
        backend_config: Options the graphs are loaded with.
        quantization: Bits of the layers: how often each ``W<weights>A<activations>`` occurs.
        parity: What the comparison with PyTorch found.
        files: For each step, its files and their sha256; the graph itself first.
        colour: Order of the channels of frames.
        dtype: Of all tensors between the graphs.
        skip: Settings of :class:`vsrq.residual.SkipPolicy` calibrated to a budget of quality, and what they reached.
    """

    backend: str
    plan: Plan
    frame_size: tuple[int, int] | None
    backend_config: dict[str, Any]
    quantization: dict[str, int]
    parity: dict[str, Any]
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    colour: str = "RGB"
    dtype: str = "float32"
    skip: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what ``manifest.json`` holds."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        if self.skip is None:
            del content["skip"]  # earlier versions of vsrq do not know it
        return content

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: Path) -> Manifest:
        """Read what :meth:`to_json` wrote.

        Raises:
            CheckpointError: It is no manifest, one of another version, or broken.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise CheckpointError(f"{where} is not the manifest of a {FORMAT}.")
        if data.get("version") != VERSION:
            raise CheckpointError(
                f"{where} has version {data.get('version')!r}, this vsrq reads version {VERSION}; export the bundle "
                "again with tools/export.py."
            )
        # what a later vsrq adds without another version does not change what the graphs compute
        values = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        try:
            size = values["frame_size"]
            values.update(plan=Plan.from_json(values["plan"]), frame_size=None if size is None else tuple(size))
            return cls(**values)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{where} is broken ({error}); export the bundle again.") from error


class Bundle:
    """A bundle on disk, its checksums verified.

    Args:
        path: The folder.

    Raises:
        CheckpointError: It is missing or incomplete, of another version, or a graph was changed or swapped.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        manifest = self.path / MANIFEST
        try:
            data = json.loads(manifest.read_text("utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"{self.path} is not a bundle: {MANIFEST} cannot be read ({error.strerror}). Make one with "
                "tools/export.py."
            ) from error
        except ValueError as error:
            raise CheckpointError(f"{manifest} is broken ({error}); export the bundle again.") from error
        self.manifest = Manifest.from_json(data, manifest)
        for step in self.manifest.plan.steps:
            if not self.manifest.files.get(step.name):
                raise CheckpointError(f"{manifest} names no file for step {step.name!r}; export the bundle again.")
        for files in self.manifest.files.values():
            for name, expected in files.items():
                _verify(self.path / name, expected)

    @property
    def plan(self) -> Plan:
        """How the graphs belong together."""
        return self.manifest.plan

    def load(self, height: int, width: int, **options: Any) -> dict[str, StepGraph]:
        """Return the step graphs, compiled for frames of one (padded) size.

        Args:
            height: In pixels.
            width: In pixels.
            **options: Override the manifest's ``backend_config``.

        Raises:
            CheckpointError: The graphs are fixed to another size, or cannot be loaded.
            MissingDependencyError: The backend is not installed.
        """
        self._check_size(height, width)
        return {step.name: self.load_step(step.name, height, width, **options) for step in self.manifest.plan.steps}

    def load_step(self, name: str, height: int, width: int, *, batch: int = 1, **options: Any) -> StepGraph:
        """Return one graph, compiled for ``batch`` frames of one size at once; see :meth:`load`."""
        self._check_size(height, width)
        return get_backend(self.manifest.backend).load(
            self.graph_file(name),
            self.plan.step(name),
            height=height,
            width=width,
            options={**self.manifest.backend_config, **options},
            batch=batch,
        )

    @property
    def batches(self) -> bool:
        """Whether a graph may take more than one frame at once."""
        return get_backend(self.manifest.backend).batches

    def _check_size(self, height: int, width: int) -> None:
        size = self.manifest.frame_size
        if size is not None and size != (height, width):
            raise CheckpointError(
                f"{self.path} is fixed to frames of {size[0]}x{size[1]} pixels (height x width), got {height}x{width}: "
                "export it again with --size, or let the Upscaler cut the frames into tiles of that size."
            )

    def graph_file(self, step: str) -> Path:
        """Return the file of a step's graph."""
        return self.path / next(iter(self.manifest.files[step]))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write or replace the manifest of a bundle.

    Raises:
        OutputError: It cannot be written.
    """
    partial = folder / f"{MANIFEST}.partial"
    try:
        partial.write_text(json.dumps(manifest.to_json(), indent=1), "utf-8")
        os.replace(partial, folder / MANIFEST)
    except OSError as error:
        raise OutputError(f"{folder / MANIFEST} cannot be written: {error.strerror}.") from error


@contextmanager
def new_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` when the block ends without an error.

    Raises:
        OutputError: ``path`` exists and may not be overwritten, or is not a bundle, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or pass --overwrite.")
    if path.exists() and any(path.iterdir() if path.is_dir() else [path]) and not (path / MANIFEST).is_file():
        raise OutputError(f"{path} is not a bundle and is not overwritten; choose another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written: {error.strerror}.") from error
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.chmod(0o755)
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, VsrqError):
            raise
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def checksums(main: Path) -> dict[str, str]:
    """Return the sha256 of a graph's files by name: the main file, then those with the same stem."""
    others = sorted(file for file in main.parent.glob(f"{main.stem}.*") if file != main)
    return {file.name: _sha256(file) for file in (main, *others)}


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; the bundle is incomplete, export it again.")
    found = _sha256(path)
    if found != expected:
        raise CheckpointError(
            f"{path} was changed or swapped: its sha256 is {found[:12]}..., the manifest says {expected[:12]}...; "
            "export the bundle again."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
