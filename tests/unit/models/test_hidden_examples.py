"""What timm's table says of gradients of single examples is what the hooks see on torch's meta device."""

import pytest
import timm
import torch
from obtransfer.curvature.per_example.hooks import LayerHooks
from obtransfer.curvature.per_example.layers import select_layers
from obtransfer.errors import ObtransferError
from obtransfer.models.prunable import prunable_parameters
from obtransfer.models.published import timm_table
from timm.models import get_pretrained_cfg

EXAMPLES = 5
FEW = "resnet18 tf_efficientnet_lite0 vit_tiny_patch16_224 lowformer_b0 swin_tiny_patch4_window7_224 eva02_tiny_patch14_224"
MORE = """
beit_base_patch16_224 beit3_base_patch16_224 coatnet_nano_rw_224 coatnet_nano_cc_224 coatnet_rmlp_nano_rw_224 coatnext_nano_rw_224
davit_tiny efficientformer_l1 efficientvit_b0 efficientvit_m0 eva02_base_patch14_224 eva02_base_patch16_clip_224
eva_giant_patch14_224 gcvit_xxtiny halonet26t hieradet_small hiera_tiny_224 hrnet_w18_small inception_v3 iformer_h iformer_t
lambda_resnet26t lcnetv2_small levit_128s levit_conv_128s maxvit_tiny_pm_256 maxvit_rmlp_pico_rw_256 maxxvitv2_nano_rw_256 mobilevit_xxs mobilevitv2_050
mvitv2_tiny nest_tiny pvt_v2_b0 repghostnet_050 resnet50_clip sam2_hiera_tiny samvit_base_patch16 samvit_base_patch16_224
swinv2_cr_tiny_224 swinv2_tiny_window8_256 test_vit_relpos tiny_vit_5m_224 tnt_s_patch16_224 twins_svt_small vgg11
vit_base_patch16_rope_reg1_gap_256 vit_base_patch16_siglip_224 vit_giant_patch16_lingbot vit_mediumd_patch16_rope_reg1_gap_256
vit_pe_core_tiny_patch16_384 vit_relpos_small_patch16_224 vit_small_patch16_dinov3 vit_small_patch16_dinov3_qkvb
vit_small_patch16_lingbot vit_small_patch16_rope_224 vit_small_plus_patch16_dinov3_qkvb vit_srelpos_small_patch16_224
volo_d1_224 xcit_nano_12_p8_224
"""


def shows_examples(model: str) -> bool:
    """Whether one forward and backward pass shows every layer's examples, and every weight reaches the features."""
    with torch.device("meta"):
        network = timm.create_model(model, num_classes=0).eval().requires_grad_(False)
        names = prunable_parameters(network)
        for name in names:
            network.get_parameter(name).requires_grad_()
        reached = set()
        try:
            hooks = LayerHooks(
                select_layers(network, names), torch.float32, lambda name, *_: reached.add(name)
            )
            features = hooks.forward(network, torch.zeros(EXAMPLES, *get_pretrained_cfg(model).input_size))
            hooks.backward(features, [torch.ones_like(features)])
        except ObtransferError:
            return False
    assert reached == set(names)
    return True


@pytest.mark.parametrize(
    "model", FEW.split() + [pytest.param(name, marks=pytest.mark.slow) for name in MORE.split()]
)
def test_the_table_says_what_the_hooks_see(model: str) -> None:
    assert timm_table()["architectures"][model].get("per_example", True) == shows_examples(model)
