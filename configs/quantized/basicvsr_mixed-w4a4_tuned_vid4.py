# basicvsr_w4a4_tuned_vid4.py with the same bit operations shared out between the layers, and a grid for each of the
# tensors that are concatenated. No weights of it are shipped yet.
_base_ = ["basicvsr_w4a4_tuned_vid4.py", "../_base_/quant/basicvsr_mixed_w4a4.py"]
shared_out = [
    dict(
        pattern=name,
        weight=dict(bits=bits[0]),
        act=dict(bits=bits[1], observer=dict(type="MSE" if ".main.2." in name and bits[1] < 6 else "MinMax")),
    )
    for name, bits in _base_.mixed_bits.items()
]
model = dict(quant=dict(act=dict(per_part=True), rules=[*_base_.quant_rules, *shared_out]))
