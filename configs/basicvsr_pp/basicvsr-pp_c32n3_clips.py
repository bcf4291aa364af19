# Second stage: clips of 5 frames, starting from the first stage; only the flow network rests.
_base_ = "basicvsr-pp_c32n3_frames.py"
model = dict(float_checkpoint="work_dirs/basicvsr-pp_c32n3_frames/iter_1500.pth")
train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        datasets=[
            dict(type="RepeatDataset", dataset=_base_.filmed_clips, times=125),
            _base_.rendered_clips,
        ]
    ),
)
