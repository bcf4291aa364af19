# Clips of tools/prepare_clips.py below data/train_clips, and as many rendered ones. Squares of 256 pixels, reduced x4
# on the fly; flipped, transposed, played backwards. Half of the rendered textures are photographs below data/stills.
clip_augmentation = [
    dict(type="Flip", keys=["gt"], flip_ratio=0.5, direction="horizontal"),
    dict(type="Flip", keys=["gt"], flip_ratio=0.5, direction="vertical"),
    dict(type="RandomTransposeHW", keys=["gt"], transpose_ratio=0.5),
    dict(type="TemporalReverse", keys=["gt"], reverse_ratio=0.5),
    dict(type="MATLABBicubic", scale=0.25),
    dict(type="PackInputs"),
]

filmed_clips = dict(
    type="BasicFramesDataset",
    metainfo=dict(dataset_type="clips", task_name="vsr"),
    data_root="data",
    data_prefix=dict(gt="train_clips"),
    num_input_frames=5,
    pipeline=[
        dict(type="GenerateSegmentIndices", interval_list=[1, 1, 2]),
        dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
        dict(type="RandomClipCrop", size=256, tries=4),
        *clip_augmentation,
    ],
)
rendered_clips = dict(
    type="SyntheticClips",
    num_clips=2000,
    num_frames=5,
    size=256,
    stills="data/stills",
    pipeline=clip_augmentation,
)

train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    batch_size=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="ConcatDataset",
        ignore_keys=["dataset_type"],
        datasets=[dict(type="RepeatDataset", dataset=filmed_clips, times=125), rendered_clips],
    ),
)
