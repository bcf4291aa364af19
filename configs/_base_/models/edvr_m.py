# EDVR-M (CVPRW 2019): 64 channels, 10 reconstruction blocks, fusion by attention (TSA).
model = dict(
    type="FloatVSR",
    generator=dict(
        type="EDVRNet",
        in_channels=3,
        out_channels=3,
        mid_channels=64,
        num_frames=5,
        deform_groups=8,
        num_blocks_extraction=5,
        num_blocks_reconstruction=10,
        center_frame_idx=2,
        with_tsa=True,
    ),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="sum"),
    data_preprocessor=dict(type="DataPreprocessor", mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
