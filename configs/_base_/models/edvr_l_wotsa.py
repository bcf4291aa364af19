# EDVR-L (CVPRW 2019): 128 channels, 40 reconstruction blocks, fusion by one convolution.
model = dict(
    type="FloatVSR",
    generator=dict(
        type="EDVRNet",
        in_channels=3,
        out_channels=3,
        mid_channels=128,
        num_frames=5,
        deform_groups=8,
        num_blocks_extraction=5,
        num_blocks_reconstruction=40,
        center_frame_idx=2,
        with_tsa=False,
    ),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="sum"),
    data_preprocessor=dict(type="DataPreprocessor", mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
