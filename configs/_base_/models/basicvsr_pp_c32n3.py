# BasicVSR++ with half the channels, 3 residual blocks in each of four branches and a quarter of the deformable groups:
# small enough to train on a CPU. 1.1 million parameters without SPyNet.
_base_ = "./basicvsr_pp_c64n7.py"
model = dict(generator=dict(mid_channels=32, num_blocks=3, deform_groups=4))
