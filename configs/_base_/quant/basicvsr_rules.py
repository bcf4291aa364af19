# Placement for BasicVSR and BasicVSR++: everything at the experiment's bits, the flow network at 8 bit per frame,
# because displacements turn error into sampling positions. Its two coarsest levels, 0.1 % of its work, stay float: on
# images of a few pixels whole layers are zero and show no range to calibrate.
quant_rules = [
    dict(pattern="spynet.basic_module.[01].*", quantize=False),
    dict(pattern="spynet.*", weight=dict(bits=8), act=dict(bits=8)),
]
# Residual blocks of BasicVSR and of BasicVSR++. Below 6 bit it pays to clip activations inside of them, where an
# identity runs beside the layer, and nowhere else: act=dict(type="MSE").
trunks = ["*_resblocks.main.2.*"]
trunks_pp = ["backbone.*.main.2.*", "reconstruction.main.2.*"]
residual_rules = [dict(pattern="spynet.*", residual=False)]
