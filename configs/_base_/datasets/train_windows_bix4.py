# The clips of train_clips_bix4.py as windows of 5 frames with their centre frame as ground truth (EDVR).
_base_ = "./train_clips_bix4.py"
window_augmentation = [*_base_.clip_augmentation[:-1], dict(type="CentreGroundTruth"), dict(type="PackInputs")]
filmed_window_pipeline = [*_base_.filmed_clips.pipeline[:3], *window_augmentation]
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type="RepeatDataset",
                dataset=dict(_base_.filmed_clips, pipeline=filmed_window_pipeline),
                times=125,
            ),
            dict(_base_.rendered_clips, pipeline=window_augmentation),
        ]
    ),
)
