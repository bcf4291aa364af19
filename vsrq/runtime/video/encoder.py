"""Video encoders: which container takes which, and their quality and speed settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from vsrq.errors import ConfigError, did_you_mean

_X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
_SECONDS_PER_GOP = 5


@dataclass(frozen=True)
class Encoder:
    """What is known of an encoder.

    Attributes:
        bitstream_filter: Undoes the packaging of mp4 and mkv, so that stored packets continue a stream.
        reorder: Largest number of frames that are stored before an earlier shown one.
        max_crf: Largest constant rate factor; ``None`` for a lossless encoder.
        crf: Its default.
        preset_option: FFmpeg's option for the speed; ``None`` where there is none.
        presets: Its values.
        preset: The default.
        options: Always set.
    """

    bitstream_filter: str | None
    reorder: int
    max_crf: int | None
    crf: int
    preset_option: str | None
    presets: tuple[str, ...]
    preset: str
    options: dict[str, str] = field(default_factory=dict)


ENCODERS = {
    "libx264": Encoder("h264_mp4toannexb", 2, 51, 17, "preset", _X26X_PRESETS, "medium"),
    "libx265": Encoder(
        "hevc_mp4toannexb", 4, 51, 19, "preset", _X26X_PRESETS, "medium", {"x265-params": "open-gop=0:log-level=none"}
    ),
    "libsvtav1": Encoder(None, 0, 63, 24, "preset", tuple(map(str, range(14))), "8"),
    "libvpx-vp9": Encoder(None, 0, 63, 24, "cpu-used", tuple(map(str, range(9))), "4", {"b": "0", "row-mt": "1"}),
    "ffv1": Encoder(None, 0, None, 0, None, (), "", {"level": "3", "slicecrc": "1"}),
}
# The first is the default.
CONTAINERS = {
    ".mp4": ("libx264", "libx265", "libsvtav1", "libvpx-vp9"),
    ".m4v": ("libx264", "libx265"),
    ".mov": ("libx264", "libx265"),
    ".mkv": ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1"),
    ".webm": ("libvpx-vp9", "libsvtav1"),
}


@dataclass(frozen=True)
class EncoderSettings:
    """A checked choice of encoder, quality and speed.

    Attributes:
        codec: Name of the encoder.
        crf: Constant rate factor: smaller is better and larger.
        preset: Speed.
    """

    codec: str
    crf: int
    preset: str

    @property
    def encoder(self) -> Encoder:
        """What is known of the encoder."""
        return ENCODERS[self.codec]

    def options(self, rate: Fraction) -> dict[str, str]:
        """Return FFmpeg's options for this encoder at this frame rate."""
        encoder = self.encoder
        options = dict(encoder.options, g=str(max(1, round(rate * _SECONDS_PER_GOP))))
        if encoder.max_crf is not None:
            options["crf"] = str(self.crf)
        if encoder.preset_option:
            options[encoder.preset_option] = self.preset
        return options


def choose(
    suffix: str, *, codec: str | None = None, crf: int | None = None, preset: str | None = None
) -> EncoderSettings:
    """Check the user's settings and fill in the defaults.

    Args:
        suffix: The container, ``.mp4`` for example.
        codec: Name of the encoder; ``None`` takes the container's first.
        crf: Constant rate factor; ``None`` takes the encoder's default.
        preset: Speed; ``None`` takes the encoder's default.

    Raises:
        ConfigError: Unknown container, encoder or preset, or a rate factor out of range.
    """
    if suffix not in CONTAINERS:
        raise ConfigError(
            f"unknown extension {suffix!r} of the output; allowed are {', '.join(CONTAINERS)}, a folder, or - for y4m"
        )
    codec = codec or CONTAINERS[suffix][0]
    if codec not in CONTAINERS[suffix]:
        hint = did_you_mean(codec, CONTAINERS[suffix])
        raise ConfigError(
            f"--codec {codec!r} does not go into {suffix}{hint}; allowed are {', '.join(CONTAINERS[suffix])}"
        )
    encoder = ENCODERS[codec]
    if crf is not None and (encoder.max_crf is None or not 0 <= crf <= encoder.max_crf):
        allowed = "none, it is lossless" if encoder.max_crf is None else f"0 (best) to {encoder.max_crf}"
        raise ConfigError(f"--crf {crf} does not fit {codec}; allowed: {allowed}")
    if preset is not None and preset not in encoder.presets:
        raise ConfigError(f"--preset {preset!r} does not fit {codec}; allowed: {', '.join(encoder.presets) or 'none'}")
    return EncoderSettings(codec, encoder.crf if crf is None else crf, preset or encoder.preset)
