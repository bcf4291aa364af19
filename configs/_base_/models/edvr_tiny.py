# For tests: learns nothing worth looking at, trains in seconds.
model = dict(
    type="FloatVSR",
    generator=dict(
        type="EDVRNet",
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        num_frames=3,
        deform_groups=2,
        num_blocks_extraction=1,
        num_blocks_reconstruction=1,
        center_frame_idx=1,
        with_tsa=True,
    ),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="DataPreprocessor", mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
