# REDS with the REDS4 split, as windows of 5 frames with their centre frame as ground truth (EDVR).
reds_root = "{{$VSRQ_DATA:data}}/REDS"
reds_prefix = dict(img="train_sharp_bicubic/X4", gt="train_sharp")

reds_load = [
    dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
    dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
]

train_dataloader = dict(
    num_workers=8,
    batch_size=8,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="reds_reds4", task_name="vsr"),
        data_root=reds_root,
        data_prefix=reds_prefix,
        split="reds4_train",
        depth=2,
        num_input_frames=5,
        num_output_frames=1,
        pipeline=[
            dict(type="GenerateFrameIndices", interval_list=[1], frames_per_clip=99),
            *reds_load,
            dict(type="SetValues", dictionary=dict(scale=4)),
            dict(type="PairedRandomCrop", gt_patch_size=256),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="vertical"),
            dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
            dict(type="PackInputs"),
        ],
    ),
)

# Whole clips: the network slides its own window over them and computes each frame's features once.
val_dataloader = dict(
    num_workers=1,
    batch_size=1,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="reds_reds4", task_name="vsr"),
        data_root=reds_root,
        data_prefix=reds_prefix,
        split="reds4_val",
        depth=1,
        num_input_frames=100,
        fixed_seq_len=100,
        pipeline=[
            dict(type="GenerateSegmentIndices", interval_list=[1]),
            *reds_load,
            dict(type="PackInputs"),
        ],
    ),
)
val_evaluator = [dict(type="PSNR", prefix="REDS4-BIx4-RGB"), dict(type="SSIM", prefix="REDS4-BIx4-RGB")]
val_cfg = dict(type="MultiValLoop")

test_dataloader = val_dataloader
test_evaluator = val_evaluator
test_cfg = dict(type="MultiTestLoop")
