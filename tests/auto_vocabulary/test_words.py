"""Captions to words: fixtures worked out by hand, and the lists that decide them."""

from __future__ import annotations

import socket

import numpy as np
import pytest

from tests.auto_vocabulary.fake import BLUE, GRAY, GREEN, RED, ColorCaptioner, stripes
from zsseg_d2.auto_vocabulary.clusters import Clusters, ClusterSettings
from zsseg_d2.auto_vocabulary.finder import WordFinder
from zsseg_d2.auto_vocabulary.nouns import lemma, noun_phrases
from zsseg_d2.auto_vocabulary.word_lists import PACKAGED, read_word_lists
from zsseg_d2.auto_vocabulary.words import Word, WordSettings, find_words, to_vocabulary, with_added, without
from zsseg_d2.data.panoptic.family import PANOPTIC_FAMILIES
from zsseg_d2.reading import UnusableFile
from zsseg_d2.vocabulary import Vocabulary

LISTS = read_word_lists()


def phrases(caption, **more):
    return [(phrase.text, phrase.head) for phrase in noun_phrases(caption, LISTS, **more)]


# Nouns


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a golden retriever", [("golden retriever", "retriever")]),
        ("two golden retrievers on the grass", [("golden retriever", "retriever"), ("grass", "grass")]),
        ("a red fire hydrant", [("fire hydrant", "fire hydrant")]),
        ("an orange on a wooden table", [("orange", "orange"), ("wooden table", "table")]),
        ("an orange cat", [("cat", "cat")]),
        ("traffic lights and a stop sign", [("traffic light", "traffic light"), ("stop sign", "stop sign")]),
        ("a remote control sitting on a couch", [("remote control", "remote control"), ("couch", "couch")]),
        ("a train on train tracks", [("train", "train"), ("train track", "train track")]),
        ("a picture of a peach and an olive", [("peach", "peach"), ("olive", "olive")]),
        ("a close up of a piece of broccoli", [("broccoli", "broccoli")]),
        ("there is a small blue building in the scene", [("building", "building")]),
        ("This is a photo of a medium traffic sign.", [("traffic sign", "traffic sign")]),
        (
            "a group of people riding bikes down a street",
            [("person", "person"), ("bike", "bike"), ("street", "street")],
        ),
        ("a man in red", [("man", "man")]),
        ("a bald bald bald man with glasses", [("bald man", "man"), ("glasses", "glasses")]),
        ("arafed image of a man in a suit", [("man", "man"), ("suit", "suit")]),
        ("buses, wolves and two leaves", [("bus", "bus"), ("wolf", "wolf"), ("leaf", "leaf")]),
        ("the stainless steel refrigerator", [("stainless steel refrigerator", "refrigerator")]),
        ("", []),
        ("a a a a", []),
        ("42 !! ...", []),
        ("\x00\U0001f600 \u4f60\u597d", []),
    ],
)
def test_noun_phrases(caption, expected):
    assert phrases(caption) == expected


def test_short_nouns_are_left_out():
    """More than two letters, as published; a key says how many."""
    assert phrases("a tv and an ox near a cat") == [("cat", "cat")]
    assert ("ox", "ox") in phrases("a tv and an ox near a cat", min_letters=2)


def test_loops_of_a_decoder_are_collapsed():
    assert phrases("dog dog dog dog on the the road") == [("dog", "dog"), ("road", "road")]


@pytest.mark.parametrize("name", ["orange", "peach", "olive"])
def test_colors_that_are_things_are_kept_as_things_only(name):
    """Fault: a list of colors that deletes oranges, peaches and olives."""
    assert phrases(f"an {name} on a plate") == [(name, name), ("plate", "plate")]
    assert phrases(f"a {name} car") == [("car", "car")]
    assert phrases("a blue in the red") == []


def test_the_words_of_prompts_are_no_nouns():
    """Fault: the prompt's own noun."""
    for prompt in ("a picture of", "a photo of a dog", "this is an image of a dog", "a photograph of the scene"):
        assert {head for _, head in phrases(prompt)} <= {"dog"}


@pytest.mark.parametrize(
    ("noun", "singular"), [("buses", "bus"), ("bus", "bus"), ("people", "person"), ("traffic lights", "traffic light")]
)
def test_lemmas(noun, singular):
    assert lemma(noun, LISTS) == singular


# Words


def clusters(*shares, agreement=None):
    return Clusters(np.zeros((1, 1), int), shares, agreement or (1.0,) * len(shares))


def names(words):
    return [word.name for word in words]


def test_each_word_is_traced_to_clusters_and_captions():
    captions = [["a car", "a red car on the road", "nothing here"], ["the sky", "the sky", "cars in the sky"]]
    found = find_words(captions, clusters(0.75, 0.25, agreement=(0.9, 0.6)), LISTS, WordSettings())
    by_name = {word.name: word for word in found}
    assert names(found) == ["car", "sky", "road"]
    car = by_name["car"]
    assert [(o.cluster, o.caption, o.named, o.share) for o in car.origins] == [
        (0, "a car", pytest.approx(2 / 3), 0.75),
        (1, "cars in the sky", pytest.approx(1 / 3), 0.25),
    ]
    assert car.share == 1.0
    assert car.score == pytest.approx(0.9 * 2 / 3)
    assert by_name["sky"].score == pytest.approx(0.6) and by_name["sky"].share == 0.25
    assert by_name["road"].score == pytest.approx(0.3)
    assert car.thing and not by_name["sky"].thing and not by_name["road"].thing


def test_a_caption_that_names_a_word_twice_counts_once():
    (dog,) = find_words([["a dog and a dog"]], clusters(1.0), LISTS, WordSettings())
    assert dog.score == 1.0


def test_words_below_share_and_score_are_left_out():
    captions = [["a car", "a car"], ["a dog", "a cat"]]
    given_clusters = clusters(0.9, 0.1)
    assert names(find_words(captions, given_clusters, LISTS, WordSettings())) == ["car", "cat", "dog"]
    assert names(find_words(captions, given_clusters, LISTS, WordSettings(min_share=0.2))) == ["car"]
    assert names(find_words(captions, given_clusters, LISTS, WordSettings(min_score=0.6))) == ["car"]


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (["a golden retriever"], [("golden retriever", "retriever")]),
        (["a golden retriever", "a retriever"], [("retriever", "golden retriever")]),
        (["a brown dog", "a dog"], [("dog",)]),
        (["a man", "people"], [("person", "man")]),
        (["a man"], [("man",)]),
        (["a man", "a woman"], [("person", "man", "woman")]),
        (["a traffic light", "a light"], [("light",), ("traffic light",)]),
        (["an airplane", "a plane"], [("airplane", "plane")]),
    ],
)
def test_near_duplicates_are_one_word(captions, expected):
    found = find_words([captions], clusters(1.0), LISTS, WordSettings())
    assert sorted(word.synonyms for word in found) == expected


def test_no_noun_is_a_defined_result():
    assert find_words([["", "a picture"], []], clusters(0.5, 0.5), LISTS, WordSettings()) == ()
    assert to_vocabulary(()) is None


def test_every_set_of_words_is_a_vocabulary():
    captions = [["a cat", "a man and a person", "traffic lights", "palm trees, a tree and trees"]]
    found = find_words(captions, clusters(1.0), LISTS, WordSettings())
    vocabulary = to_vocabulary(found)
    assert vocabulary == Vocabulary(tuple(word.synonyms for word in found))
    vocabulary.check_distinct()
    assert len(set(vocabulary.rows)) == len(vocabulary.rows)


WORDS = find_words([["a man and a woman", "a dog on the road"]], clusters(1.0), LISTS, WordSettings())


def test_words_are_left_out_by_any_form_of_their_name():
    assert names(without(WORDS, ["Dogs"], LISTS)) == ["person", "road"]
    kept = {word.name: word.synonyms for word in without(WORDS, ["woman"], LISTS)}
    assert kept["person"] == ("person", "man")
    assert without(WORDS, ["person", "dog", "road"], LISTS) == ()


def test_words_are_added_in_front_and_joined_with_their_likes():
    classes = Vocabulary((("traffic cone", "cone"), ("people",), ("street",)))
    found = with_added(WORDS, classes, frozenset({0, 1}), LISTS)
    assert names(found) == ["traffic cone", "people", "street", "dog", "road"]
    assert [word.thing for word in found] == [True, True, False, True, False]
    assert found[1].synonyms == ("people", "man", "woman") and found[1].origins
    assert found[2].synonyms == ("street",), "what the user tells apart stays apart"
    assert found[0].score == 1.0 and found[0].origins == ()


# Lists


def test_the_packaged_lists_agree_with_one_another():
    assert LISTS.version == 1 and PACKAGED.is_file()
    assert not LISTS.stop & LISTS.stuff - {"background"}, "a word that is never found"
    assert LISTS.colored_things <= LISTS.colors
    for group in LISTS.synonyms:
        assert len(set(group)) == len(group) > 1
        assert {lemma(name, LISTS) for name in group} == set(group), "found words are singular"
    flat = [name for group in LISTS.synonyms for name in group]
    assert len(set(flat)) == len(flat), "a name of two kinds"
    for words in (LISTS.stop, LISTS.colors, LISTS.modifiers, LISTS.compounds, LISTS.stuff):
        assert all(word == word.lower().strip() for word in words)
    assert all(" " in name for name in LISTS.compounds)


def test_stuff_is_stuff_of_the_packaged_datasets():
    """Names that some panoptic dataset has as stuff and none has as a thing are stuff here, first names only."""
    things, stuff = set(), set()
    for family in (f for f in PANOPTIC_FAMILIES.values() if not f.semantic):
        for category, synonyms in zip(family.categories, family.vocabulary.classes):
            (things if category.isthing else stuff).add(synonyms[0])
    missing = sorted(name for name in stuff - things if LISTS.is_thing(name))
    assert set(missing) <= {
        "base",
        "car mount",
        "ego vehicle",
        "on rails",
        "cradle",
        "conveyer belt",
        "buffet",
        "stairway",
        "hovel",
        "tank",
        "shower",
        "crt screen",
    }
    assert all(LISTS.is_thing(name) for name in ("person", "car", "dog", "zyzzyva"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("version: one", "'version' is of the wrong type"),
        ("version: 1\nstopp: [a]", "unknown field"),
        ("[1, 2]", "'the file' is of the wrong type"),
        ("a: [", "is not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("", "'the file' is of the wrong type"),
    ],
)
def test_damaged_lists_are_one_message(tmp_path, content, problem):
    path = tmp_path / "lists.yaml"
    path.write_text(content)
    with pytest.raises(UnusableFile, match=problem) as error:
        read_word_lists(str(path))
    assert str(path) in str(error.value) and "Fix: " in str(error.value)


def test_missing_lists_name_the_key(tmp_path):
    with pytest.raises(UnusableFile, match="MODEL.AUTO_VOCABULARY.WORD_LISTS"):
        read_word_lists(str(tmp_path / "none.yaml"))


def test_own_lists_replace_the_packaged_ones(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("version: 3\nstop: [dog]\ncompounds: [big bird]\n")
    own = read_word_lists(str(path))
    assert [p.text for p in noun_phrases("a photo of a dog and big birds", own)] == ["photo", "big bird"]


# The finder


SETTINGS = ClusterSettings(sizes=(64,), square=False, counts=(3,), position_weight=0.0)


def finder(**more):
    return WordFinder(ColorCaptioner(), SETTINGS, passes=2, **more)


def test_the_words_of_stripes():
    found = finder()(stripes(RED, GREEN, BLUE))
    assert names(found.words) == ["car", "sky", "tree", "road"]
    assert found.clusters.labels.shape == (4, 9) and len(found.clusters) == 3
    assert sorted(texts[0] for texts in found.captions) == sorted(
        ["a photo of a car", "there is a green tree", "the blue sky"]
    )
    for word in found.words:
        for origin in word.origins:
            assert origin.caption in found.captions[origin.cluster]


def test_captions_are_of_the_cluster_s_own_cells():
    """Fault: cells are given the first n positions instead of their own."""
    found = finder()(stripes(GRAY, GRAY, RED))
    red = found.clusters.labels[0, -1]
    assert found.captions[red] == ("a photo of a car", "a photo of a car and a road")
    assert found.captions[found.clusters.labels[0, 0]] == ("", "")


def test_an_image_without_words():
    found = finder()(stripes(GRAY))
    assert found.words == () and set(found.captions) == {("", "")}


def test_scales_are_encoded_in_their_order():
    captioner = ColorCaptioner()
    WordFinder(captioner, ClusterSettings(sizes=(96, 64), square=True, counts=(2,)), passes=1)(stripes(RED, BLUE))
    assert [size for size, _ in captioner.calls] == [(64, 64), (96, 96)]


def test_words_depend_on_the_image_alone():
    one = finder()
    first = one(stripes(RED, GREEN)).words
    one(stripes(BLUE, GRAY, RED))
    assert one(stripes(RED, GREEN)).words == first == finder()(stripes(RED, GREEN)).words
    assert isinstance(first[0], Word)


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert finder()(stripes(RED, GREEN)).words
    assert phrases("several zebras near the unheard-of contraption")
