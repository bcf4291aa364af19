# EDVR with 32 channels, 3 blocks before and 8 after the fusion by attention (TSA): small enough to train on a CPU.
_base_ = "./edvr_m.py"
model = dict(
    generator=dict(mid_channels=32, deform_groups=4, num_blocks_extraction=3, num_blocks_reconstruction=8),
    pixel_loss=dict(reduction="mean"),
)
