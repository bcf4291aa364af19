_base_ = [
    "../_base_/models/basicvsr_pp_c64n7.py",
    "../_base_/datasets/vimeo90k_bd.py",
    "../_base_/schedules/basicvsr_pp_300k.py",
    "../_base_/default_runtime.py",
]

# Meant to start from the REDS weights: set model.float_checkpoint to that checkpoint.
train_dataloader = dict(batch_size=2)
