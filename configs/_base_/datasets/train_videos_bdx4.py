# Clips to fine-tune on under the BD degradation: every video below $VSRQ_DATA/videos/train, halved first because videos
# are compressed, then blurred and subsampled x4. 7 frames of 64x64 input pixels each.
train_dataloader = dict(
    num_workers=0,
    batch_size=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="videos", task_name="vsr"),
        data_root="{{$VSRQ_DATA:data}}/videos",
        data_prefix=dict(gt="train"),
        num_input_frames=7,
        pipeline=[
            dict(type="GenerateSegmentIndices", interval_list=[1]),
            dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
            dict(type="MATLABBicubic", scale=0.5, src="gt", dst="gt"),
            dict(type="GaussianDownsampling", scale=4),
            dict(type="PairedRandomCrop", gt_patch_size=256),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
            dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
            dict(type="PackInputs"),
        ],
    ),
)
