_base_ = [
    "../_base_/models/edvr_l.py",
    "../_base_/datasets/reds_window5.py",
    "../_base_/schedules/edvr_tsa_600k.py",
    "../_base_/default_runtime.py",
]

param_scheduler = dict(restart_weights=[1, 0.5, 0.5, 0.5, 0.5])
auto_scale_lr = dict(enable=False, base_batch_size=64)
