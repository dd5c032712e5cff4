"""Multi-scale deformable attention: the definition, the module, and faster forms for CPUs and GPUs."""

from .attention import MSDeformAttn
from .plain import ms_deform_attn

__all__ = ["MSDeformAttn", "ms_deform_attn"]
