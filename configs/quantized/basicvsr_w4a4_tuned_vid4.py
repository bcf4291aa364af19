# BasicVSR (official Vimeo-90K BI weights) fine-tuned at 4 bit in all layers but the flow network's, which has 8: LSQ
# steps per output channel, affine LSQ+ activations, taught by the float network alone on real and rendered clips.
_base_ = ["../_base_/quant/basicvsr_tuned.py", "../_base_/schedules/tuned_cpu.py"]
# one grid for the frame and the features beside it, as in the shipped weights, which started from MSE ranges
model = dict(quant=dict(act=dict(per_part=False)))
