"""Which activation a CLIP from a local file gets, and refusal of damaged files."""

from __future__ import annotations

import open_clip
import pytest
from safetensors.torch import save_file

from zsseg_d2.modeling.clip.loading import create_clip, resolve_clip_name


@pytest.mark.parametrize(("tags", "activation"), [(["openai"], "QuickGELU"), ([], "GELU")])
def test_a_file_of_an_openai_architecture_gets_quick_gelu(tmp_path, monkeypatch, tags, activation):
    name = resolve_clip_name("mini_rn")
    path = tmp_path / "clip.safetensors"
    save_file({k: v.contiguous() for k, v in create_clip(name, "").state_dict().items()}, path)
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: tags)
    model = create_clip(name, str(path))
    assert type(model.transformer.resblocks[0].mlp.gelu).__name__ == activation


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "clip.safetensors"
    path.write_bytes(b"\x10\x00")
    with pytest.raises(ValueError, match="clip.safetensors: is damaged"):
        create_clip(resolve_clip_name("mini_rn"), str(path))
