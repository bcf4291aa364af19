# Vid4 under BDx4, luminance, the input made from the ground truth on the fly: no BDx4 folder is needed.
_base_ = "vid4_bdx4.py"
vid4_dataloader = dict(
    dataset=dict(
        data_prefix=dict(_delete_=True, gt="GT"),
        pipeline=[
            dict(type="GenerateSegmentIndices", interval_list=[1]),
            dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
            dict(type="GaussianDownsampling", scale=4),
            dict(type="PackInputs"),
        ],
    ),
)
val_dataloader = vid4_dataloader
test_dataloader = vid4_dataloader
