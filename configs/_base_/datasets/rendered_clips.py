# Rendered clips only: to calibrate and to distil where no data are at hand. 7 frames of 64x64 input pixels each.
train_dataloader = dict(
    num_workers=0,
    batch_size=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="SyntheticClips",
        num_clips=2000,
        num_frames=7,
        size=256,
        pipeline=[dict(type="MATLABBicubic", scale=0.25), dict(type="PackInputs")],
    ),
)
