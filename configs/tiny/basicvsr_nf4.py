# For tests: weights stored as NF4, from random ones.
_base_ = [
    "../_base_/models/basicvsr_tiny.py",
    "../_base_/datasets/clip_folders.py",
    "../_base_/schedules/ptq.py",
    "../_base_/default_runtime.py",
]
model = dict(_delete_=True, type="QuantizedVSR", architecture=_base_.model, nf4=dict(block=32))
train_cfg = dict(max_clips=1)
