# BasicVSR++ with half the channels and 3 residual blocks in each of four branches: small enough to train on a CPU.
_base_ = "./basicvsr_pp_c64n7.py"
model = dict(generator=dict(mid_channels=32, num_blocks=3))
