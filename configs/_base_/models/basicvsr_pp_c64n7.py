# BasicVSR++ (CVPR 2022): 64 channels, 7 residual blocks in each of four branches.
# SPyNet starts untrained unless float_checkpoint (a whole network) or generator.spynet_pretrained (a local file
# with SPyNet alone) is given: nothing is downloaded.
model = dict(
    type="FloatVSR",
    generator=dict(
        type="BasicVSRPlusPlusNet",
        mid_channels=64,
        num_blocks=7,
        is_low_res_input=True,
        spynet_pretrained=None,
    ),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="DataPreprocessor", mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
