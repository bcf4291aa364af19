# Vid4 under BDx4, luminance, the input made from the ground truth on the fly: no BDx4 folder is needed.
vid4_dataloader = dict(
    num_workers=1,
    batch_size=1,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="vid4", task_name="vsr"),
        data_root="{{$VSRQ_DATA:data}}/Vid4",
        data_prefix=dict(gt="GT"),
        pipeline=[
            dict(type="GenerateSegmentIndices", interval_list=[1]),
            dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
            dict(type="GaussianDownsampling", scale=4),
            dict(type="PackInputs"),
        ],
    ),
)
vid4_evaluator = [
    dict(type="PSNR", convert_to="Y", prefix="VID4-BDx4-Y"),
    dict(type="SSIM", convert_to="Y", prefix="VID4-BDx4-Y"),
]

val_dataloader = vid4_dataloader
val_evaluator = vid4_evaluator
val_cfg = dict(type="MultiValLoop")
test_dataloader = vid4_dataloader
test_evaluator = vid4_evaluator
test_cfg = dict(type="MultiTestLoop")
