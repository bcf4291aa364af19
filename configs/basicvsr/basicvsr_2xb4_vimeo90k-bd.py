_base_ = [
    "../_base_/models/basicvsr_c64n30.py",
    "../_base_/datasets/vimeo90k_bd.py",
    "../_base_/schedules/basicvsr_300k.py",
    "../_base_/default_runtime.py",
]
