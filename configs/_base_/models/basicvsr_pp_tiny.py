# For tests: learns nothing worth looking at, trains in seconds.
model = dict(
    type="FloatVSR",
    generator=dict(
        type="BasicVSRPlusPlusNet",
        mid_channels=16,
        num_blocks=1,
    ),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="DataPreprocessor", mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
