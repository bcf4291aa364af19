_base_ = [
    "../_base_/models/edvr_tiny.py",
    "../_base_/datasets/clip_folders.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

custom_hooks = [dict(type="FreezeHook", iters=2, train_only=["*fusion*"])]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))

# Windows of 3 frames with their centre frame as ground truth, from clips of 5 frames.
train_dataloader = dict(
    dataset=dict(
        depth=2,
        num_output_frames=1,
        pipeline=[
            dict(type="GenerateFrameIndices", interval_list=[1], frames_per_clip=4),
            dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
            dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
            dict(type="SetValues", dictionary=dict(scale=4)),
            dict(type="PairedRandomCrop", gt_patch_size=64),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
            dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
            dict(type="PackInputs"),
        ],
    )
)
