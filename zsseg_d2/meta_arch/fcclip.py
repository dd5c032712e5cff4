"""FC-CLIP (Yu et al. 2023): masks and classes from one frozen convolutional CLIP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_sem_seg_head
from torch import Tensor, nn

from ..class_sets import ClassSets, EvalClasses, TrainingClasses
from ..modeling.clip.backbone import CLIP
from ..modeling.clip.text_classifier import TextClassifier
from ..modeling.fcclip.criterion import Prediction, SetCriterion, Target
from ..modeling.fcclip.ensemble import apply_void_rule, geometric_ensemble, suppress_void
from ..modeling.fcclip.head import FCCLIPHead
from ..modeling.fcclip.query_decoder import Queries, class_logits
from ..modeling.padding import Padding
from ..modeling.postprocessing import instance_inference, panoptic_inference, semantic_inference, semantic_labels
from ..modeling.upsampling import Upsampler, downsample_masks
from ..text_cache import TextCache
from ..vocabulary import Vocabulary
from .base import PaddedBatch, PanopticModel, TrainingBatch


@dataclass(frozen=True)
class ScoringSettings:
    """How in-vocabulary and CLIP's scores become one (MODEL.FC_CLIP and ZSSEG).

    Attributes:
        ensemble: Join CLIP's scores of regions; if False, the decoder's scores alone count.
        alpha: Weight of CLIP's score for seen classes.
        beta: Weight of CLIP's score for unseen classes.
        on_valid_mask: Leave CLIP's score out where a mask is empty at stride 32.
        void_rule: Scale class scores by 1 - p_void; if False, no query is void.
        void_suppression: w of p_void · (1 - w · max CLIP probability), in [0, 1].
    """

    ensemble: bool = True
    alpha: float = 0.4
    beta: float = 0.8
    on_valid_mask: bool = False
    void_rule: bool = True
    void_suppression: float = 0.0


@dataclass(frozen=True)
class ResultSettings:
    """Which results are computed, and by which thresholds (MODEL.MASK_FORMER.TEST).

    Attributes:
        semantic: Results have ``sem_seg``.
        instance: Results have ``instances``.
        panoptic: Results have ``panoptic_seg``.
        object_mask_threshold: Queries below this class score take no part in the panoptic map.
        overlap_threshold: Part of its mask's area that a segment must win.
        semantic_at_full_size: Sum semantic scores at the output's size instead of resizing them afterwards.
        max_instances: Instances per image.
    """

    semantic: bool = True
    instance: bool = False
    panoptic: bool = False
    object_mask_threshold: float = 0.0
    overlap_threshold: float = 0.8
    semantic_at_full_size: bool = False
    max_instances: int = 100


@dataclass(frozen=True)
class ImageQueries:
    """Queries of one image after the last layer.

    Attributes:
        logits: (Q, K + 1), void last.
        mask_embed: (Q, C).
        mask_features: (C, h, w).
    """

    logits: Tensor
    mask_embed: Tensor
    mask_features: Tensor


@dataclass(frozen=True)
class DecoderOutput:
    """Output of the head for a batch in training.

    Attributes:
        logits: [layer] (B, Q, K + 1) of all names and void; a list of (Q, K + 1) where images differ in their names.
        mask_embed: [layer] (B, Q, C).
        mask_features: [image] (C, h, w) of the image's own part.
    """

    logits: Sequence[Tensor | list[Tensor]]
    mask_embed: list[Tensor]
    mask_features: list[Tensor]

    def images(self) -> Iterator[ImageQueries]:
        """Yield the queries of each image after the last layer."""
        for of_image in zip(self.logits[-1], self.mask_embed[-1], self.mask_features):
            yield ImageQueries(*of_image)


@META_ARCH_REGISTRY.register()
class FCCLIP(PanopticModel):
    """Frozen CLIP → pixel decoder → query decoder → classes by text rows; CLIP's scores of regions join at test time.

    ``forward`` takes Detectron2's list of dicts. In training it returns weighted losses, else one dict per image (see
    :meth:`PanopticModel.segment`).

    Args:
        backbone: The frozen CLIP.
        sem_seg_head: Pixel decoder and query decoder.
        criterion: The loss.
        classes: Classes of training and of the test sets.
        text_classifier: Text rows of vocabularies.
        pixel_mean: (3,) RGB, in [0, 255].
        pixel_std: (3,) RGB.
        size_divisibility: Images are padded to a multiple of this.
        deep_supervision: Take losses after every layer, not only the last.
        scoring: How class scores are computed at test time.
        results: Which results are computed at test time.
        base: Of :class:`SegmentationModel`.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: CLIP,
        sem_seg_head: FCCLIPHead,
        criterion: SetCriterion,
        classes: ClassSets,
        text_classifier: TextClassifier,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int = 32,
        deep_supervision: bool = True,
        scoring: ScoringSettings | None = None,
        results: ResultSettings | None = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.classes = classes
        self.void_embedding = nn.Embedding(1, backbone.embed_dim)
        self.text_classifier = text_classifier
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)
        self.size_divisibility = size_divisibility
        self.deep_supervision = deep_supervision
        self.scoring = scoring or ScoringSettings()
        self.results = results or ResultSettings()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        classes = ClassSets.from_config(cfg)
        classes.evaluation()  # contradictions end here, before weights are read
        former, clip, zsseg, test = cfg.MODEL.MASK_FORMER, cfg.MODEL.FC_CLIP, cfg.ZSSEG, cfg.MODEL.MASK_FORMER.TEST
        backbone = build_backbone(cfg)
        return {
            **cls.base_arguments(cfg),
            "backbone": backbone,
            "criterion": SetCriterion(
                class_weight=former.CLASS_WEIGHT,
                mask_weight=former.MASK_WEIGHT,
                dice_weight=former.DICE_WEIGHT,
                no_object_weight=former.NO_OBJECT_WEIGHT,
                num_points=former.TRAIN_NUM_POINTS,
                oversample_ratio=former.OVERSAMPLE_RATIO,
                importance_sample_ratio=former.IMPORTANCE_SAMPLE_RATIO,
            ),
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "classes": classes,
            "text_classifier": TextClassifier(TextCache.from_setting(zsseg.TEXT_CACHE)),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": max(backbone.size_divisibility, former.SIZE_DIVISIBILITY),
            "deep_supervision": former.DEEP_SUPERVISION,
            "scoring": ScoringSettings(
                ensemble=zsseg.ENSEMBLE,
                alpha=clip.GEOMETRIC_ENSEMBLE_ALPHA,
                beta=clip.GEOMETRIC_ENSEMBLE_BETA,
                on_valid_mask=clip.ENSEMBLE_ON_VALID_MASK,
                void_rule=zsseg.VOID_RULE,
                void_suppression=zsseg.VOID_SUPPRESSION,
            ),
            "results": ResultSettings(
                semantic=test.SEMANTIC_ON,
                instance=test.INSTANCE_ON,
                panoptic=test.PANOPTIC_ON,
                object_mask_threshold=test.OBJECT_MASK_THRESHOLD,
                overlap_threshold=test.OVERLAP_THRESHOLD,
                semantic_at_full_size=test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE,
                max_instances=cfg.TEST.DETECTIONS_PER_IMAGE,
            ),
        }

    def with_shared_backbone(self, sem_seg_head: FCCLIPHead) -> FCCLIP:
        """Build another model with the same settings over the same CLIP and text rows, with a head of its own."""
        return FCCLIP(
            backbone=self.backbone,
            sem_seg_head=sem_seg_head,
            criterion=self.criterion,
            classes=self.classes,
            text_classifier=self.text_classifier,
            pixel_mean=self.pixel_mean.flatten().tolist(),
            pixel_std=self.pixel_std.flatten().tolist(),
            size_divisibility=self.size_divisibility,
            deep_supervision=self.deep_supervision,
            scoring=self.scoring,
            results=self.results,
            precision=self.precision,
            random_clip=self.random_clip,
        )

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    # images -> batches

    def padded_batches(self, batched_inputs: Sequence[Mapping]) -> list[PaddedBatch]:
        """Normalize and pad the images, one batch per padded size; padding is the mean color."""
        groups: dict[tuple[int, int], list[int]] = {}
        for position, size in enumerate(self._padded_sizes(batched_inputs)):
            groups.setdefault(size, []).append(position)
        return [
            PaddedBatch(positions, self._on_canvas([batched_inputs[p] for p in positions], size))
            for size, positions in groups.items()
        ]

    def training_batch(self, batched_inputs: Sequence[Mapping]) -> TrainingBatch:
        """Normalize the images and pad them to one size; what lies beyond an image's own padded size is to be masked.

        An image's own padding, up to a multiple of ``size_divisibility``, is the mean color, as at test time.
        """
        sizes = self._padded_sizes(batched_inputs)
        padding = Padding.of(sizes)
        canvas = sizes[0] if padding is None else padding.canvas
        return TrainingBatch(self._on_canvas(batched_inputs, canvas), padding)

    def _padded_sizes(self, batched_inputs: Sequence[Mapping]) -> list[tuple[int, int]]:
        """Return height and width of each image, padded to multiples of ``size_divisibility``."""
        step, shapes = self.size_divisibility, [item["image"].shape[-2:] for item in batched_inputs]
        return [(-h % step + h, -w % step + w) for h, w in shapes]

    def _on_canvas(self, items: Sequence[Mapping], size: tuple[int, int]) -> Tensor:
        batch = self.pixel_mean.new_zeros(len(items), 3, *size)
        for slot, item in zip(batch, items):
            image = item["image"].to(self.device)
            slot[:, : image.shape[1], : image.shape[2]] = (image - self.pixel_mean) / self.pixel_std
        return batch

    def clip_features(self, images: Tensor, padding: Padding | None = None) -> dict[str, Tensor]:
        return self.backbone(images, padding)

    # queries -> scores

    def text_rows(self, vocabulary: Vocabulary) -> Tensor:
        """Return (T + 1, E) L2-normalized text rows, the learned void last."""
        return torch.cat(
            (self.text_classifier(vocabulary, self.backbone), F.normalize(self.void_embedding.weight, dim=-1))
        )

    def class_logits(self, queries: Queries, text: Tensor, vocabulary: Vocabulary) -> Tensor:
        """Compute (B, Q, K + 1) class logits of the decoder, void last, from (T + 1, E) text rows."""
        scale = self.sem_seg_head.predictor.logit_scale.exp().clamp(max=100)
        return class_logits(queries.class_embed.float(), text, vocabulary.synonyms_per_class, scale)

    # training

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Compute the weighted losses of a training batch (see :class:`SetCriterion`)."""
        batch = self.training_batch(batched_inputs)
        features = self.clip_features(batch.images, batch.padding)
        decoded = self.decode(features, batch.padding, items=batched_inputs)
        return self.criterion(*self.predictions(decoded, batched_inputs), self.targets(batched_inputs))

    def decode(
        self,
        features: Mapping[str, Tensor],
        padding: Padding | None = None,
        return_aux: bool | None = None,
        items: Sequence[Mapping] = (),
    ) -> DecoderOutput:
        """Run the head in training.

        Args:
            features: CLIP's features of the batch.
            padding: Which part of them is image; None: all.
            return_aux: Return every layer, or only the last; None: every layer if all are supervised.
            items: Of the batch; each image is compared with the names of its own dataset. Empty: none is replayed.
        """
        return_aux = self.deep_supervision if return_aux is None else return_aux
        text = self._text(self.classes.training)
        queries, mask_features = self.sem_seg_head(features, return_aux=return_aux, padding=padding)
        logits: Any = [self.class_logits(q, *text) for q in queries]
        replayed = [slot for slot, item in enumerate(items) if self.is_replayed(item)]
        if replayed and self.classes.replay is not None:
            text = self._text(self.classes.replay)
            logits = [list(of_layer) for of_layer in logits]
            for of_layer, q in zip(logits, queries):
                found = self.class_logits(Queries(q.class_embed[replayed], q.mask_embed[replayed]), *text)
                for slot, of_image in zip(replayed, found):
                    of_layer[slot] = of_image
        parts = mask_features if padding is None else [part[0] for part in padding.crops(mask_features)]
        return DecoderOutput(logits, [q.mask_embed for q in queries], list(parts))

    def is_replayed(self, item: Mapping) -> bool:
        """Return whether a training item is of ZSSEG.REPLAY.DATASET."""
        return self.classes.training_of(item) is not self.classes.training

    def _text(self, classes: TrainingClasses) -> tuple[Tensor, Vocabulary]:
        return self.text_rows(classes.vocabulary), classes.vocabulary

    def predictions(
        self, decoded: DecoderOutput, items: Sequence[Mapping] = ()
    ) -> tuple[list[list[Prediction]], list[tuple[Tensor, ...]]]:
        """Return predictions [layer][image] with the columns of the training classifier, and mask features [image]."""
        images = len(decoded.mask_features)
        classes = [self.classes.training_of(item) for item in items] or [self.classes.training] * images
        columns = [torch.tensor([*c.kept, len(c.vocabulary)], device=self.device) for c in classes]
        layers = [
            [Prediction(c[..., own], (m,)) for c, m, own in zip(logits, mask_embed, columns)]
            for logits, mask_embed in zip(decoded.logits, decoded.mask_embed)
        ]
        return layers, [(of_image,) for of_image in decoded.mask_features]

    def targets(self, batched_inputs: Sequence[Mapping]) -> list[Target]:
        """Return the ground truth of each image."""
        return [self._target(item, size) for item, size in zip(batched_inputs, self._padded_sizes(batched_inputs))]

    def _target(self, item: Mapping, padded: tuple[int, int]) -> Target:
        """Ground truth on the image's own padded grid, with columns of the training classifier as labels.

        Padded pixels have no loss.
        """
        classes = self.classes.training_of(item)
        leaked = sorted(set(item["instances"].gt_classes.tolist()) & set(classes.deleted))
        if leaked:
            raise ValueError(
                f"{item.get('file_name', 'a training image')} has labels of classes that the dataset deletes: "
                f"{', '.join(classes.vocabulary.names[k] for k in leaked)}."
            )
        instances = item["instances"].to(self.device)
        column = torch.full((len(classes.vocabulary),), -1, device=self.device)
        column[list(classes.kept)] = torch.arange(len(classes.kept), device=self.device)
        labels = column[instances.gt_classes]

        def pad(mask: Tensor, value: bool) -> Tensor:
            return F.pad(mask, (0, padded[1] - mask.shape[-1], 0, padded[0] - mask.shape[-2]), value=value)

        ignore, size = item.get("ignore"), instances.gt_masks.shape[-2:]
        if ignore is None and tuple(size) != padded:
            ignore = torch.zeros(size, dtype=torch.bool)
        return Target(
            labels, pad(instances.gt_masks, False), None if ignore is None else pad(ignore.to(self.device), True)
        )

    # inference

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """See :meth:`PanopticModel.segment`."""
        queries, masks = self.decode_last(features)
        return [
            self.segment_image(queries, masks, features, slot, item, padded, self.classes.of(item))
            for slot, item in enumerate(items)
        ]

    def segment_image(
        self,
        queries: Queries,
        masks: Tensor,
        features: Mapping[str, Tensor],
        slot: int,
        item: Mapping,
        padded: tuple[int, int],
        classes: EvalClasses,
    ) -> dict:
        """Segment image ``slot`` of a batch with some classes, from what :meth:`decode_last` returned."""
        logits = self.in_vocab_logits(queries, slot, classes)
        dense = features["clip_vis_dense"][slot : slot + 1]
        scores = self.class_scores(logits, masks[slot : slot + 1], dense, classes)[0]
        return self.postprocess(scores, masks[slot], item, padded, classes)

    @torch.no_grad()
    def decode_last(self, features: Mapping[str, Tensor]) -> tuple[Queries, Tensor]:
        """Return queries of the last layer, and their mask logits (B, Q, h, w)."""
        queries = self.sem_seg_head.last(features)
        assert queries.mask_logits is not None
        return queries, queries.mask_logits

    def in_vocab_logits(self, queries: Queries, slot: int, classes: EvalClasses) -> Tensor:
        """Compute (1, Q, K + 1) in-vocabulary logits of image ``slot`` of a batch."""
        single = Queries(queries.class_embed[slot : slot + 1], queries.mask_embed[slot : slot + 1])
        return self.class_logits(single, self.text_rows(classes.vocabulary), classes.vocabulary)

    def class_scores(self, in_logits: Tensor, masks: Tensor, dense: Tensor, classes: EvalClasses) -> Tensor:
        """Compute log-probabilities after the ensemble and the void rule.

        Args:
            in_logits: (B, Q, K + 1) in-vocabulary logits.
            masks: (B, Q, h, w) logits.
            dense: (B, C, H/32, W/32) ``clip_vis_dense``.
            classes: Classes of the evaluation.

        Returns:
            (B, Q, K + 1), void last.
        """
        scoring = self.scoring
        void = in_logits.softmax(-1)[..., -1]
        if not scoring.void_rule:
            void = torch.zeros_like(void)
        if not (scoring.ensemble or scoring.void_suppression):
            return apply_void_rule(in_logits[..., :-1], void)
        text = self.text_rows(classes.vocabulary)
        small = downsample_masks(masks, (dense.shape[-2], dense.shape[-1]))
        regions = self.backbone.embed_regions(dense, small).float()
        synonyms = classes.vocabulary.synonyms_per_class
        out_logits = class_logits(regions, text, synonyms, self.backbone.logit_scale)[..., :-1]
        valid = (small > 0).flatten(2).any(-1) if scoring.on_valid_mask else None
        void = suppress_void(void, out_logits, scoring.void_suppression, valid)
        mixed = in_logits[..., :-1]
        if scoring.ensemble:
            seen = torch.tensor(classes.seen, device=self.device)
            mixed = geometric_ensemble(mixed, out_logits, seen, scoring.alpha, scoring.beta, valid)
        return apply_void_rule(mixed, void)

    def postprocess(
        self, scores: Tensor, masks: Tensor, item: Mapping, padded: tuple[int, int], classes: EvalClasses
    ) -> dict:
        """Make the results of one image from class log-probabilities (Q, K + 1) and mask logits (Q, h, w).

        An item may ask for ``semantic_labels`` (H, W), which take less memory than ``sem_seg``, and give
        ``encode_masks`` for its instances (see :func:`instance_inference`).
        """
        settings = self.results
        image = (item["image"].shape[-2], item["image"].shape[-1])
        size = (item.get("height", image[0]), item.get("width", image[1]))
        upsample = Upsampler(padded, image, size)
        result: dict = {}
        if settings.semantic:
            if settings.semantic_at_full_size or settings.panoptic or settings.instance:
                result["sem_seg"] = semantic_inference(scores, masks, upsample)
            else:
                coarse = semantic_inference(scores, masks, Upsampler(padded, image, image))
                result["sem_seg"] = Upsampler(image, image, size)(coarse)
        if item.get("semantic_labels"):
            result["semantic_labels"] = semantic_labels(scores, masks, upsample)
        if settings.panoptic:
            result["panoptic_seg"] = panoptic_inference(
                scores, masks, upsample, classes.things, settings.object_mask_threshold, settings.overlap_threshold
            )
        if settings.instance:
            things = classes.things if settings.panoptic else None
            encode = item.get("encode_masks")
            result["instances"] = instance_inference(scores, masks, upsample, things, settings.max_instances, encode)
        return result
