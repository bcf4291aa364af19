# Vimeo-90K septuplets, BDx4: train on 64,612, validate on Vid4, test on Vimeo-90K-T (centre frame) and Vid4.
_base_ = ["./vid4_bdx4.py"]

vimeo_root = "{{$VSRQ_DATA:data}}/vimeo90k"
vimeo_prefix = dict(img="BDx4", gt="GT")
septuplet = ["im1.png", "im2.png", "im3.png", "im4.png", "im5.png", "im6.png", "im7.png"]

vimeo_load = [
    dict(type="LoadImageFromFile", key="img", channel_order="rgb"),
    dict(type="LoadImageFromFile", key="gt", channel_order="rgb"),
]

train_dataloader = dict(
    num_workers=6,
    batch_size=4,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="vimeo90k_seq", task_name="vsr"),
        data_root=vimeo_root,
        data_prefix=vimeo_prefix,
        ann_file="meta_info_Vimeo90K_train_GT.txt",
        depth=2,
        num_input_frames=7,
        fixed_seq_len=7,
        load_frames_list=dict(img=septuplet, gt=septuplet),
        pipeline=[
            *vimeo_load,
            dict(type="SetValues", dictionary=dict(scale=4)),
            dict(type="PairedRandomCrop", gt_patch_size=256),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="horizontal"),
            dict(type="Flip", keys=["img", "gt"], flip_ratio=0.5, direction="vertical"),
            dict(type="RandomTransposeHW", keys=["img", "gt"], transpose_ratio=0.5),
            dict(type="MirrorSequence", keys=["img", "gt"]),
            dict(type="PackInputs"),
        ],
    ),
)

vimeo_test_dataloader = dict(
    num_workers=1,
    batch_size=1,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="BasicFramesDataset",
        metainfo=dict(dataset_type="vimeo90k_seq", task_name="vsr"),
        data_root=vimeo_root,
        data_prefix=vimeo_prefix,
        ann_file="meta_info_Vimeo90K_test_GT.txt",
        depth=2,
        num_input_frames=7,
        fixed_seq_len=7,
        load_frames_list=dict(img=septuplet, gt=["im4.png"]),
        pipeline=[
            *vimeo_load,
            dict(type="MirrorSequence", keys=["img"]),
            dict(type="PackInputs"),
        ],
    ),
)
vimeo_evaluator = [
    dict(type="PSNR", convert_to="Y", prefix="Vimeo-90K-T-BDx4-Y"),
    dict(type="SSIM", convert_to="Y", prefix="Vimeo-90K-T-BDx4-Y"),
]

test_dataloader = [vimeo_test_dataloader, _base_.vid4_dataloader]
test_evaluator = [vimeo_evaluator, _base_.vid4_evaluator]
