# Vid4, BIx4, luminance. Whole clips of 34 to 49 frames.
vid4_dataloader = dict(
    num_workers=1,
    batch_size=1,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="vid4", task_name="vsr"),
        data_root="{{$VSRQ_DATA:data}}/Vid4",
        data_prefix=dict(img="BIx4", gt="GT"),
        pipeline=[
            dict(type="GenerateSegmentIndices", interval_list=[1]),
            dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
            dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
            dict(type="PackInputs"),
        ],
    ),
)
vid4_evaluator = [
    dict(type="PSNR", convert_to="Y", prefix="VID4-BIx4-Y"),
    dict(type="SSIM", convert_to="Y", prefix="VID4-BIx4-Y"),
]

val_dataloader = vid4_dataloader
val_evaluator = vid4_evaluator
val_cfg = dict(type="MultiValLoop")
test_dataloader = vid4_dataloader
test_evaluator = vid4_evaluator
test_cfg = dict(type="MultiTestLoop")
