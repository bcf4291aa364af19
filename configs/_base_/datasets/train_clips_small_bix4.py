# The clips of train_clips_bix4.py in squares of 192 pixels, 48x48 input pixels: fine-tuning takes half the time.
_base_ = "train_clips_bix4.py"
small_filmed_clips = _base_.filmed_clips
small_filmed_clips.pipeline[2].size = 192
small_rendered_clips = _base_.rendered_clips
small_rendered_clips.size = 192
train_dataloader = dict(
    dataset=dict(
        datasets=[dict(type="RepeatDataset", dataset=small_filmed_clips, times=125), small_rendered_clips],
    ),
)
