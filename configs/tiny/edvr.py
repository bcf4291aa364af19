_base_ = [
    "../_base_/models/edvr_tiny.py",
    "../_base_/datasets/clip_folders.py",
    "../_base_/schedules/tiny.py",
    "../_base_/default_runtime.py",
]

custom_hooks = [dict(type="FreezeHook", iters=2, train_only=["*fusion*"])]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
