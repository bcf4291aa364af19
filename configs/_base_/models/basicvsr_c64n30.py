# BasicVSR (CVPR 2021): 64 channels, 30 residual blocks per branch.
# SPyNet starts untrained unless float_checkpoint (a whole network) or generator.spynet_pretrained (a local file
# with SPyNet alone) is given: nothing is downloaded.
model = dict(
    type="FloatVSR",
    generator=dict(
        type="BasicVSRNet",
        mid_channels=64,
        num_blocks=30,
        spynet_pretrained=None,
    ),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="DataPreprocessor", mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
