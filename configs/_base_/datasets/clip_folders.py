# Any clips: $VSRQ_DATA/GT/<clip>/00000000.png and the same under BIx4. Small crops; used by the tests.
clips_load = [
    dict(type="GenerateSegmentIndices", interval_list=[1]),
    dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
    dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
]

train_dataloader = dict(
    num_workers=0,
    batch_size=1,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="clips", task_name="vsr"),
        data_root="{{$VSRQ_DATA:data}}",
        data_prefix=dict(img="BIx4", gt="GT"),
        num_input_frames=3,
        pipeline=[
            *clips_load,
            dict(type="SetValues", dictionary=dict(scale=4)),
            dict(type="PairedRandomCrop", gt_patch_size=64),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
            dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
            dict(type="PackInputs"),
        ],
    ),
)

val_dataloader = dict(
    num_workers=0,
    batch_size=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="clips", task_name="vsr"),
        data_root="{{$VSRQ_DATA:data}}",
        data_prefix=dict(img="BIx4", gt="GT"),
        pipeline=[*clips_load, dict(type="PackInputs")],
    ),
)
val_evaluator = [dict(type="PSNR"), dict(type="SSIM")]
val_cfg = dict(type="MultiValLoop")

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type="MultiTestLoop")
