"""Text rows: in memory and in the cache on disk, with concurrent writers and damaged files."""

from __future__ import annotations

import multiprocessing
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zsseg_d2 import Vocabulary
from zsseg_d2.modeling.clip import text_classifier
from zsseg_d2.modeling.clip.loading import build_tokenizer, create_clip, resolve_clip_name
from zsseg_d2.modeling.clip.text_classifier import TextClassifier
from zsseg_d2.text_cache import TextCache, text_cache_folder
from zsseg_d2.vocabulary import PROMPT_TEMPLATES

VOCABULARY = Vocabulary((("road", "street"), ("car",)))


class FakeClip(nn.Module):
    """Embeds a text as letter counts, and counts how often it was asked."""

    embed_dim = 26

    def __init__(self, seed: float = 0.0) -> None:
        super().__init__()
        self.clip_model = nn.Module()
        self.clip_model.logit_scale = nn.Parameter(torch.zeros(()))
        self.clip_model.token_embedding = nn.Parameter(torch.full((4, 4), seed))
        self.clip_model.activation = nn.GELU()
        self.tokenizer = lambda texts: torch.tensor([[len(t)] for t in texts])
        self.calls = 0

    def embed_texts(self, texts):
        self.calls += 1
        counts = torch.tensor([[float(t.lower().count(chr(97 + i))) for i in range(26)] for t in texts])
        return nn.functional.normalize(counts, dim=-1)


def test_rows_are_normalised_means_over_templates():
    clip = FakeClip()
    rows = TextClassifier()(VOCABULARY, clip)
    assert rows.shape == (3, 26)
    embedded = clip.embed_texts([t.format("street") for t in PROMPT_TEMPLATES])
    expected = embedded.mean(0) / embedded.mean(0).norm()
    assert torch.allclose(rows[1], expected, atol=1e-6)


def test_second_start_does_not_run_the_text_tower(tmp_path):
    first, second = FakeClip(), FakeClip()
    rows = TextClassifier(TextCache(tmp_path))(VOCABULARY, first)
    again = TextClassifier(TextCache(tmp_path))(VOCABULARY, second)
    assert first.calls > 0 and second.calls == 0
    assert torch.equal(rows, again)
    assert [p.suffix for p in tmp_path.iterdir()] == [".safetensors"] * 3, "a file for each name"


def test_key_holds_weights_and_vocabulary(tmp_path):
    TextClassifier(TextCache(tmp_path))(VOCABULARY, FakeClip())
    other_weights, other_words = FakeClip(seed=1e-3), FakeClip()
    TextClassifier(TextCache(tmp_path))(VOCABULARY, other_weights)
    TextClassifier(TextCache(tmp_path))(Vocabulary((("Road",), ("car",))), other_words)
    assert other_weights.calls > 0 and other_words.calls > 0


def test_key_holds_activation_and_tokenizer(tmp_path):
    """The same weights under another activation or tokenizer give other rows."""
    TextClassifier(TextCache(tmp_path))(VOCABULARY, FakeClip())
    activation, tokenizer = FakeClip(), FakeClip()
    activation.clip_model.activation = nn.ReLU()
    tokenizer.tokenizer = lambda texts: torch.tensor([[len(t) + 1] for t in texts])
    TextClassifier(TextCache(tmp_path))(VOCABULARY, activation)
    TextClassifier(TextCache(tmp_path))(VOCABULARY, tokenizer)
    assert activation.calls > 0 and tokenizer.calls > 0


def words(*numbers: int) -> Vocabulary:
    return Vocabulary(tuple((f"word {chr(97 + k // 26)}{chr(97 + k % 26)}",) for k in numbers))


@pytest.mark.parametrize("stored", [False, True])
def test_one_new_name_costs_one_row(tmp_path, stored):
    """Also in another order and with synonyms, and in the next run if rows are stored."""
    store = TextCache(tmp_path) if stored else None
    classifier, clip = TextClassifier(store), FakeClip()
    first = classifier(words(*range(100)), clip)
    assert clip.calls == 100
    second = classifier(words(*range(99, 0, -1), 500), clip)
    assert clip.calls == 101 and torch.equal(second[:99], first[1:].flip(0))
    again = FakeClip()
    joined = TextClassifier(store)(Vocabulary((("word aa", "word ab", "word ac"), ("new",))), again)
    assert again.calls == (1 if stored else 4) and torch.equal(joined[:3], first[:3])


def test_a_name_has_the_same_row_in_every_vocabulary():
    """With a real text tower, whose products round differently for other numbers of texts."""
    torch.manual_seed(0)
    clip = FakeClip()
    clip.clip_model = create_clip(resolve_clip_name("mini_rn"), "").eval()
    clip.tokenizer = build_tokenizer(resolve_clip_name("mini_rn"))

    @torch.no_grad()
    def embed(texts):
        return nn.functional.normalize(clip.clip_model.encode_text(clip.tokenizer(texts)), dim=-1)

    clip.embed_texts = embed
    names = ["car", "a very long name of a thing with many words", "sky", "tree", "traffic light", "dog", "bus"]
    together = TextClassifier()(Vocabulary(tuple((name,) for name in names)), clip)
    for k, name in enumerate(names):
        assert torch.equal(TextClassifier()(Vocabulary(((name,),)), clip)[0], together[k])
        prompts = embed([template.format(name) for template in PROMPT_TEMPLATES])
        torch.testing.assert_close(together[k], prompts.mean(0) / prompts.mean(0).norm(), atol=1e-6, rtol=0)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(text_classifier, "NAMES", 30)
    classifier, clip = TextClassifier(), FakeClip()
    for k in range(40):
        classifier(words(k, k + 1), clip)
    assert len(list(classifier.buffers())) == text_classifier.VOCABULARIES == 8
    assert len(classifier._non_persistent_buffers_set) == 8 and len(classifier._names) == 30
    calls = clip.calls
    classifier(words(39, 40), clip), classifier(words(30, 20), clip)
    assert clip.calls == calls, "the latest vocabularies and names are kept"
    assert classifier(words(*range(60)), clip).shape == (60, 26), "also more names at once than are kept"


def test_vocabularies_that_are_used_stay_in_memory():
    classifier, clip = TextClassifier(), FakeClip()
    used = classifier(words(0), clip)
    for k in range(1, 30):
        classifier(words(k), clip)
        assert classifier(words(0), clip) is used


def test_files_are_bounded_and_the_latest_used_stay(tmp_path):
    cache = TextCache(tmp_path, entries=20)
    (tmp_path / "notes.txt").write_text("of somebody else")
    old = tmp_path / ".zsseg_d2-abc.part"
    old.write_text("of a killed writer")
    os.utime(old, (1, 1))
    for k in range(100):
        cache.put(f"key{k}", UNIT)
        os.utime(tmp_path / f"key{k}.safetensors", (1000 + k, 1000 + k))
        assert cache.get("key0", (2, 3)) is not None, "it is read again and again"
    kept = {path.stem for path in tmp_path.glob("*.safetensors")}
    assert 15 <= len(kept) <= 20 and {"key0", "key97", "key98", "key99"} <= kept
    assert (tmp_path / "notes.txt").exists() and not old.exists()
    TextCache(tmp_path, entries=3).put("new", UNIT)
    assert len(list(tmp_path.glob("*.safetensors"))) <= 3


def test_each_vocabulary_keeps_its_own_rows():
    classifier, clip = TextClassifier(), FakeClip()
    other = Vocabulary((("sky",),))
    assert classifier(VOCABULARY, clip).shape[0] == 3
    assert classifier(other, clip).shape[0] == 1
    assert classifier(VOCABULARY, clip).shape[0] == 3


@pytest.mark.parametrize("damage", [b"", b"\x00" * 10, b"not a safetensors file at all"])
def test_a_damaged_cache_file_is_made_again(tmp_path, damage):
    TextClassifier(TextCache(tmp_path))(VOCABULARY, FakeClip())
    file = min(tmp_path.glob("*.safetensors"))
    good = file.read_bytes()
    file.write_bytes(damage)
    clip = FakeClip()
    rows = TextClassifier(TextCache(tmp_path))(VOCABULARY, clip)
    assert clip.calls > 0 and torch.isfinite(rows).all()
    assert file.read_bytes() == good


UNIT = torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, -1.0]])


def test_rows_come_back_as_they_were(tmp_path):
    cache = TextCache(tmp_path)
    cache.put("key", UNIT)
    assert torch.equal(cache.get("key", (2, 3)), UNIT)
    assert cache.get("key", (3, 3)) is None and cache.get("other", (2, 3)) is None


@pytest.mark.parametrize(
    "rows",
    [UNIT.half(), UNIT.double(), UNIT * 0.99, -2 * UNIT, torch.zeros(2, 3), UNIT * float("nan"), UNIT.T.contiguous()],
    ids=["half", "double", "shorter", "longer", "zero", "nan", "shape"],
)
def test_rows_of_another_type_norm_or_shape_are_computed_again(tmp_path, caplog, rows):
    cache = TextCache(tmp_path)
    cache.put("key", rows)
    assert cache.get("key", (2, 3)) is None and "computed again" in caplog.text


def test_rows_without_a_digest_or_with_another_key_are_computed_again(tmp_path, caplog):
    cache = TextCache(tmp_path)
    save_file({"rows": UNIT}, tmp_path / "key.safetensors")
    assert cache.get("key", (2, 3)) is None
    cache.put("other", UNIT.flip(0))
    (tmp_path / "other.safetensors").rename(tmp_path / "key.safetensors")
    assert cache.get("key", (2, 3)) is None
    assert caplog.text.count("computed again") == 2


def test_every_flipped_bit_of_the_rows_is_seen(tmp_path):
    """Also one that leaves type, shape and nearly the norm as they were."""
    cache, file = TextCache(tmp_path), tmp_path / "key.safetensors"
    cache.put("key", UNIT)
    good = file.read_bytes()
    for bit in range(8 * 24):  # two rows of three float32 values end the file
        content = bytearray(good)
        content[-1 - bit // 8] ^= 1 << bit % 8
        file.write_bytes(content)
        assert cache.get("key", (2, 3)) is None


def _write(folder) -> None:
    for _ in range(5):
        TextClassifier(TextCache(folder))(VOCABULARY, FakeClip())


def test_concurrent_writers_leave_good_files(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [p.exitcode for p in processes] == [0] * 4
    clip = FakeClip()
    TextClassifier(TextCache(tmp_path))(VOCABULARY, clip)
    assert clip.calls == 0 and len(list(tmp_path.iterdir())) == 3


def test_an_unwritable_cache_is_no_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("in the way")
    assert TextClassifier(TextCache(blocker / "rows"))(VOCABULARY, FakeClip()).shape == (3, 26)


def test_rows_follow_the_module_and_stay_out_of_checkpoints():
    classifier = TextClassifier()
    classifier(VOCABULARY, FakeClip())
    assert classifier.state_dict() == {}
    assert all(b.dtype == torch.float64 for b in classifier.double().buffers())


def test_rows_computed_in_inference_mode_serve_training():
    classifier, clip = TextClassifier(), FakeClip()
    with torch.inference_mode():
        classifier(VOCABULARY, clip)
    weight = torch.ones(26, requires_grad=True)
    (classifier(VOCABULARY, clip) @ weight).sum().backward()
    assert weight.grad is not None


def test_cache_folder_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("ZSSEG_D2_CACHE", str(tmp_path))
    assert text_cache_folder("auto") == tmp_path / "text_rows"
    assert text_cache_folder("") is None
    assert text_cache_folder(str(tmp_path / "x")) == tmp_path / "x"
