"""Suite files: what they say, and every mistake that is told before any work."""

from __future__ import annotations

import pytest
import yaml

from tests.experiments import suite_stub
from zsseg_d2.data import CONFIGURATIONS
from zsseg_d2.data.panoptic.family import family_of
from zsseg_d2.data.pseudo_labels.dataset import pseudo_labels_folder
from zsseg_d2.engine.config.packaged import config_root, packaged_configs, packaged_suites
from zsseg_d2.engine.errors import ConfigError
from zsseg_d2.experiments.checks import check_configs, check_weights
from zsseg_d2.experiments.gather import gather
from zsseg_d2.experiments.leak_free import check_claims, find_leaks
from zsseg_d2.experiments.measures import TASKS, Target
from zsseg_d2.experiments.referring_plots import decoder_of, loss_of
from zsseg_d2.experiments.results import Row
from zsseg_d2.experiments.runs import in_order, make_jobs
from zsseg_d2.experiments.suite_file import load_suite, parse_options

TOOLS = config_root().parent / "tools"
PLAIN = {"name": "a", "config": "minicity/zero_shot.yaml", "eval_only": True}


@pytest.fixture
def load(tmp_path):
    """``load(runs, **keys of the suite)``"""
    tools = suite_stub.write_tools(tmp_path / "tools")

    def make(runs, **changes):
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"output": str(tmp_path / "out"), "runs": runs, **changes}))
        return load_suite(path, tools)

    return make


HELD_OUT = ("minicity/suite_methods.yaml", "minicity/suite_configurations.yaml")
OF_PHRASES = ["miniphrases/suite.yaml"]
OF_COMPOSITES = ["composites/suite.yaml"]


@pytest.mark.parametrize("name", OF_PHRASES)
def test_packaged_suites_of_phrases_are_complete(name):
    """Every decoder with every loss, as long as the others; other runs name the difference in a note."""
    suite = load_suite(config_root() / name, TOOLS)
    jobs = make_jobs(suite)
    configs = check_configs(suite.path, jobs)
    assert suite.task is TASKS["referring"] and not find_leaks(jobs, configs, suite.output)
    assert all(run.trains and run.has_row and not run.role and not run.needs for run in suite.runs)
    grid = {r.name: configs[r.name].MODEL.REFERRING for r in suite.runs if not r.note}
    cells = [(cfg.DECODER, cfg.LOSS) for cfg in grid.values()]
    decoders, losses = {decoder for decoder, _ in cells}, {loss for _, loss in cells}
    assert decoders >= {"model0", "model1", "model2", "unet"} and losses >= {"bce", "dice", "focal"}
    assert sorted(cells) == sorted((decoder, loss) for decoder in decoders for loss in losses)
    assert len({configs[n].SOLVER.MAX_ITER for n in grid}) == 1
    assert len({(cfg.MODEL.FC_CLIP.CLIP_MODEL_NAME, cfg.INPUT.PHRASE.SIZE) for cfg in configs.values()}) == 1
    # The plots read the decoder from the label and the loss from the run's own options.
    assert all(
        dict(run.options)["MODEL.REFERRING.LOSS"] == configs[run.name].MODEL.REFERRING.LOSS for run in suite.runs
    )
    shown = {(decoder_of(Row(run, {})), loss_of(Row(run, {}))) for run in suite.runs}
    assert len(shown) == len(suite.runs) and len({decoder_of(Row(suite.run(n), {})) for n in grid}) == len(decoders)
    check_weights(configs, suite.output)


@pytest.mark.parametrize("name", OF_COMPOSITES)
def test_packaged_suites_of_composites_are_complete(name):
    """Networks, losses, one or two pictures, clean or disturbed backgrounds; main rows over three seeds."""
    suite = load_suite(config_root() / name, TOOLS)
    jobs = make_jobs(suite)
    configs = check_configs(suite.path, jobs)
    assert suite.task is TASKS["composites"] and all(run.has_row for run in suite.runs)
    assert suite.test == "composites_test" and {cfg.DATASETS.TEST for cfg in configs.values()} == {("composites_val",)}
    assert len(suite.seeds) == 3 and len([run for run in suite.runs if run.trains and not run.once]) == 4
    settings = [cfg.MODEL.COMPOSITES for cfg in configs.values()]
    assert {s.INPUT for s in settings} == {"pair", "composite", "grey"} and len({s.NET for s in settings}) > 1
    assert len({s.MASK_LOSS for s in settings}) > 3 and len({s.DEPTH_LOSS for s in settings}) > 3
    trained = {n: cfg for n, cfg in configs.items() if suite.run(n).trains}
    assert len({cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH for cfg in trained.values()}) == 1
    # Trained on clean or disturbed backgrounds, and tested on either: four rows of one net.
    clean = {n for n, cfg in configs.items() if not cfg.INPUT.COMPOSITES.DISTURBANCE.ENABLED}
    assert clean == {"clean", "disturbed_clean"} and {n for n in configs if not suite.run(n).competes} == clean
    for row, needed in (("clean_disturbed", "clean"), ("disturbed_clean", "unet")):
        run = suite.run(row)
        assert run.eval_only and run.needs == (needed,) and run.config == suite.run(needed).config
    assert {cfg.DATASETS.FINAL_TEST for cfg in configs.values()} == {("composites_test",)}
    check_weights(configs, suite.output)


@pytest.mark.parametrize("name", [name for name in packaged_suites() if name not in OF_PHRASES + OF_COMPOSITES])
def test_packaged_suites_are_complete(name):
    suite = load_suite(config_root() / name, TOOLS)
    jobs = make_jobs(suite)
    configs = check_configs(suite.path, jobs)
    if name in HELD_OUT:
        _check_held_out(suite, configs, find_leaks(jobs, configs, suite.output))
    elif name != "minicity/suite_demo.yaml":
        assert {run.role for run in suite.runs} >= {"zero_shot", "upper_bound", "lower_bound"} and len(suite.seeds) == 3
        assert suite.published and list(find_leaks(jobs, configs, suite.output)) == ["upper_bound"]
    check_claims(suite, find_leaks(jobs, configs, suite.output))
    long = {cfg.SOLVER.MAX_ITER for n, cfg in configs.items() if suite.run(n).trains and suite.run(n).competes}
    assert len(long) == 1, "as long for each method"
    for run_name, cfg in configs.items():
        if suite.run(run_name).trains:
            labelled = any(needed.startswith("pseudo_labels") for needed in suite.run(run_name).needs)
            assert labelled == ("_pseudo_labels_" in str(cfg.DATASETS.TRAIN)), run_name
    labels = next((job for job in jobs if job.name == "pseudo_labels"), None)
    if labels is None:
        return
    family = family_of(configs["pseudo_labels"].DATASETS.TEST)
    assert (
        labels.result == pseudo_labels_folder(family, "008") / "manifest.json"
        and labels.run.overwrite_argument == "--overwrite"
    )
    if "naive_invocab" in configs:  # its In and Out are not those of the row of invocab
        assert configs["naive_invocab"].ZSSEG.ENSEMBLE and not configs["invocab"].ZSSEG.ENSEMBLE
        assert "with CLIP's scores" in suite.run("naive_invocab").note
    if name.startswith("minicity"):
        check_weights(configs, suite.output)


def _check_held_out(suite, configs, leaks):
    """They choose on the longer validation split and report the test split; leak-free rows saw no labels of Out."""
    assert suite.test == "minicity_panoptic_test"
    for name, cfg in configs.items():
        if not suite.run(name).is_step:
            assert cfg.DATASETS.TEST == ("minicity_panoptic_val_large",)
            assert suite.test in cfg.DATASETS.FINAL_TEST and suite.test not in cfg.DATASETS.TRAIN
    assert leaks and all(name.startswith(("upper_bound", "full_")) for name in leaks)
    if suite.pretraining:
        assert {run.role for run in suite.runs} >= {"zero_shot", "upper_bound", "lower_bound"} and len(suite.seeds) == 5
        assert suite.target == Target(0.97, 0.0, 10.0, 1.0)
        return
    points = [run for run in suite.runs if run.series]
    assert len({run.series for run in points}) == 4 and len(points) == 34
    for run in points:
        configuration = f"00{run.deleted}"
        out = CONFIGURATIONS[configuration]
        assert (list(out) or ["none"]) == configs[run.name].ZSSEG.OUT_CLASSES and len(out) == run.deleted
        if run.trains:
            labels = f"pseudo_labels_{configuration}"
            trained_on = labels if run.needs == (labels,) else configuration
            assert (f"minicity_panoptic_train_{trained_on}",) == configs[run.name].DATASETS.TRAIN


def test_suites_are_no_configs():
    of_classes = ["minicity/suite.yaml", "minicity/suite_demo.yaml", "cityscapes/suite_r50.yaml", *HELD_OUT]
    assert sorted(packaged_suites()) == sorted(of_classes + OF_PHRASES + OF_COMPOSITES)
    assert not set(packaged_suites()) & set(packaged_configs())


@pytest.mark.parametrize("name", packaged_suites())
def test_packaged_suites_say_how_they_are_run(name):
    text = (config_root() / name).read_text()
    assert f"python tools/run_suite.py configs/{name}" in text and "# Time:" in text


def test_what_a_run_needs_comes_before_it(load):
    runs = [
        {**PLAIN, "name": "c", "options": {"MODEL.WEIGHTS": "{b}/w.pth"}, "needs": ["a"]},
        {**PLAIN, "name": "b", "environment": {"OMP_WAIT_POLICY": "{a}/x of {seed}"}},
        PLAIN,
        {"name": "d", "of": "c", "metrics": "other.json"},
    ]
    suite = load(runs)
    assert [run.name for run in in_order(suite)] == ["a", "b", "c", "d"]
    assert suite.run("c").needs == ("b", "a") and suite.run("d").needs == ("c",)


def test_a_run_may_have_fewer_seeds(load):
    runs = [{**PLAIN, "seeds": "once"}, {**PLAIN, "name": "b"}, {**PLAIN, "name": "c", "seeds": 2, "needs": ["a", "b"]}]
    suite = load([*runs, {"name": "d", "of": "c", "metrics": "other.json"}], seeds=[7, 8, 9])
    made = [(job.name, job.seed) for job in make_jobs(suite)]
    assert made == [("a", None), ("b", 7), ("c", 7), ("b", 8), ("c", 8), ("b", 9)]
    assert suite.seeds_of(suite.run("d")) == (7, 8)
    rows = {row.run.name: list(row.seeds) for row in gather(suite, make_jobs(suite)).rows}
    assert rows == {"a": ["once"], "b": ["7", "8", "9"], "c": ["7", "8"], "d": ["7", "8"]}


def test_a_row_of_another_run_is_as_often(load):
    suite = load([{**PLAIN, "seeds": "once"}, {"name": "b", "of": "a", "metrics": "other.json"}])
    assert suite.run("b").once and suite.run("b").tool is None


@pytest.mark.parametrize(
    ("runs", "changes", "told"),
    [
        ([], {}, "`runs` is empty"),
        (["a"], {}, "a run has a `name`"),
        ([{"config": "x"}], {}, "a run has a `name`"),
        ([{**PLAIN, "name": "seed"}], {}, "other than folder, output, seed"),
        ([{**PLAIN, "name": "a/b"}], {}, "a run has a `name`"),
        ([PLAIN, PLAIN], {}, "2 runs have the name 'a'"),
        ([{**PLAIN, "role": "zero_shot"}, {**PLAIN, "name": "b", "role": "zero_shot"}], {}, "2 runs have the role"),
        ([{**PLAIN, "confg": "x"}], {}, "unknown key 'confg'. Did you mean config"),
        ([PLAIN], {"sedes": [1]}, "unknown key 'sedes'. Did you mean seeds"),
        ([PLAIN], {"task": "cooking"}, "task='cooking': .* choose one of panoptic"),
        ([PLAIN], {"seeds": [1, 1]}, "seeds must be different whole numbers"),
        ([PLAIN], {"seeds": ["x"]}, "seeds must be different whole numbers"),
        ([PLAIN], {"seeds": []}, "seeds must be different whole numbers"),
        ([PLAIN], {"options": {"SEED": 3}}, "SEED is set by the suite; use `seeds`"),
        ([PLAIN], {"options": ["SOLVER.MAX_ITER"]}, "KEY VALUE pairs, but there are 1 words"),
        ([PLAIN], {"options": {"MODEL.WEIGHTS": "{a}/x"}}, "only the options of a run may refer to others"),
        ([PLAIN], {"options": "SOLVER.MAX_ITER 3"}, "options must be a mapping or a list"),
        ([PLAIN], {"memory_gb": 0}, "`memory_gb` must be positive"),
        ([PLAIN], {"compare": ["b"]}, "`compare` names 'b'"),
        ([{**PLAIN, "against": ["b"]}], {}, "`against` of run 'a' names 'b'"),
        ([{**PLAIN, "against": "a"}], {}, "against='a' .*expected array"),
        ([{**PLAIN, "against": ["a"]}], {}, "run 'a' cannot be compared `against` 'a': only two different rows"),
        ([PLAIN], {"published": {"rows": [{"label": "x", "al": 3}]}}, "unknown key 'al'. Did you mean all"),
        (
            [PLAIN],
            {"published": {"rows": [{"label": "x", "all": "much"}]}},
            "all='much' is of the wrong type .expected float, got str.",
        ),
        ([{**PLAIN, "options": {"OUTPUT_DIR": "x"}}], {}, "OUTPUT_DIR is set by the suite; use `output`"),
        (
            [{**PLAIN, "tool": "trane_net.py"}],
            {},
            "no program 'trane_net.py' of this project. Did you mean train_net.py",
        ),
        ([{"name": "a"}], {}, "train_net.py needs a `config`"),
        ([{**PLAIN, "seeds": [1]}], {}, "seeds=.1.: it must be `once`, or a number"),
        ([{**PLAIN, "seeds": "twice"}], {}, "seeds='twice': it must be `once`, or a number"),
        ([{**PLAIN, "seeds": 0}], {}, "seeds=0: it must be `once`, or a number"),
        (
            [{**PLAIN, "seeds": 1}, {**PLAIN, "name": "b", "needs": ["a"]}],
            {"seeds": [1, 2]},
            "'b' is run for more seeds than 'a', which it needs",
        ),
        ([{**PLAIN, "role": "king"}], {}, "role is 'king'; choose one of zero_shot"),
        ([{**PLAIN, "eval_only": "true"}], {}, "eval_only='true' is of the wrong type"),
        ([{**PLAIN, "eval_only": "yes"}], {}, "eval_only='yes' is of the wrong type .expected bool, got str."),
        ([{**PLAIN, "arguments": "--x"}], {}, "arguments='--x' is of the wrong type .expected array, got str."),
        ([{**PLAIN, "curve_row": 0.5}], {}, "no `curve` is given"),
        ([{**PLAIN, "needs": ["aa"]}], {}, "needs 'aa', which is not a run of this suite. Did you mean a?"),
        ([{**PLAIN, "options": {"MODEL.WEIGHTS": "{zero}/x"}}], {}, "needs 'zero', which is not a run"),
        ([{**PLAIN, "seeds": "once", "needs": ["b"]}, {**PLAIN, "name": "b"}], {}, "is run once, but needs 'b'"),
        ([{**PLAIN, "needs": ["b"]}, {**PLAIN, "name": "b", "needs": ["a"]}], {}, "in a circle: a -> b -> a"),
        ([{**PLAIN, "needs": ["a"]}], {}, "in a circle: a -> a"),
        ([PLAIN, {"name": "b", "of": "a", "config": "x"}], {}, "`config` has no meaning"),
        ([PLAIN, {"name": "b", "of": "a", "result": "x"}], {}, "`result` has no meaning"),
        ([{**PLAIN, "result": "${DETECTRON2_DATASETS}/x"}], {}, "needs 'DETECTRON2_DATASETS', which is not a run"),
        (
            [{**PLAIN, "overwrite_argument": True}],
            {},
            "overwrite_argument=True is of the wrong type .expected str, got bool.",
        ),
        ([{"name": "b", "of": "a"}], {}, "needs 'a', which is not a run"),
        ([PLAIN, {"name": "b", "of": "a"}, {"name": "c", "of": "b"}], {}, "itself read from another run's files"),
    ],
)
def test_mistakes_of_a_suite_file_are_told(load, runs, changes, told):
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        load(runs, **changes)


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({**PLAIN, "config": "minicity/zero_shoot.yaml"}, "Did you mean minicity/zero_shot.yaml"),
        ({**PLAIN, "options": {"SOLVER.MAX_ITR": 3}}, r"\.yaml: run 'a': Unknown config key 'SOLVER.MAX_ITR'"),
        ({**PLAIN, "options": {"ZSSEG.MERGE.PRIORITY": "first"}}, "run 'a': ZSSEG.MERGE.PRIORITY=first: choose one of"),
        (
            {**PLAIN, "options": {"MODEL.WEIGHTS": "nowhere.pth"}},
            "run 'a': MODEL.WEIGHTS: there are no weights 'nowhere.pth'",
        ),
    ],
)
def test_mistakes_of_configs_are_told_before_any_work(load, run, told):
    with pytest.raises(ConfigError, match=told):
        suite = load([run])
        check_weights(check_configs(suite.path, make_jobs(suite)), suite.output)


def test_weights_that_a_run_makes_need_not_be_there(load):
    second = {**PLAIN, "name": "b", "options": {"MODEL.WEIGHTS": "{a}/model_final.pth"}}
    suite = load([PLAIN, second])
    check_weights(check_configs(suite.path, make_jobs(suite)), suite.output)


def test_options_of_every_layout():
    assert parse_options({"A.B": [1, 2], "C": True}, "x") == (("A.B", "[1, 2]"), ("C", "True"))
    assert parse_options(["A.B", 1, "C", "{seed}"], "x") == (("A.B", "1"), ("C", "{seed}"))
    assert parse_options({}, "x") == ()
