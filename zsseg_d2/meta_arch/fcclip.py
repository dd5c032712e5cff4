"""FC-CLIP (Yu et al. 2023): masks and classes from one frozen convolutional CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_sem_seg_head
from torch import Tensor, nn

from ..class_sets import ClassSets, EvalClasses, TrainingClasses
from ..modeling.clip.backbone import CLIP
from ..modeling.clip.text_classifier import TextClassifier
from ..modeling.fcclip.criterion import SetCriterion
from ..modeling.fcclip.decoder_output import DecoderOutput
from ..modeling.fcclip.ensemble import ScoringSettings, join_scores
from ..modeling.fcclip.head import FCCLIPHead
from ..modeling.fcclip.query_decoder import Queries, class_logits
from ..modeling.fcclip.targets import Prediction, Target
from ..modeling.padding import Padding
from ..modeling.upsampling import downsample_masks
from ..text_cache import TextCache
from ..vocabulary import Vocabulary
from .base import PanopticModel
from .batches import PaddedBatch, TrainingBatch, padded_batches, padded_sizes, training_batch
from .results import ResultSettings, image_results
from .targets import ground_truth


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
        former = cfg.MODEL.MASK_FORMER
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
            "text_classifier": TextClassifier(TextCache.from_setting(cfg.ZSSEG.TEXT_CACHE)),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "size_divisibility": max(backbone.size_divisibility, former.SIZE_DIVISIBILITY),
            "deep_supervision": former.DEEP_SUPERVISION,
            "scoring": ScoringSettings.from_config(cfg),
            "results": ResultSettings.from_config(cfg),
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
        return padded_batches(batched_inputs, self.size_divisibility, self.pixel_mean, self.pixel_std)

    def training_batch(self, batched_inputs: Sequence[Mapping]) -> TrainingBatch:
        """Normalize the images and pad them to one size; what lies beyond an image's own padded size is to be masked.

        An image's own padding, up to a multiple of ``size_divisibility``, is the mean color, as at test time.
        """
        return training_batch(batched_inputs, self.size_divisibility, self.pixel_mean, self.pixel_std)

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
        sizes = padded_sizes(batched_inputs, self.size_divisibility)
        return [
            ground_truth(item, size, self.classes.training_of(item), self.device)
            for item, size in zip(batched_inputs, sizes)
        ]

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
        out_logits = valid = None
        if self.scoring.reads_regions:
            out_logits, valid = self._region_logits(masks, dense, classes)
        seen = torch.tensor(classes.seen, device=self.device)
        return join_scores(in_logits, out_logits, seen, self.scoring, valid)

    def _region_logits(self, masks: Tensor, dense: Tensor, classes: EvalClasses) -> tuple[Tensor, Tensor | None]:
        """(B, Q, K) CLIP's class logits of regions, and (B, Q) which masks have any; None: not asked."""
        text = self.text_rows(classes.vocabulary)
        small = downsample_masks(masks, (dense.shape[-2], dense.shape[-1]))
        regions = self.backbone.embed_regions(dense, small).float()
        synonyms = classes.vocabulary.synonyms_per_class
        logits = class_logits(regions, text, synonyms, self.backbone.logit_scale)[..., :-1]
        return logits, (small > 0).flatten(2).any(-1) if self.scoring.on_valid_mask else None

    def postprocess(
        self, scores: Tensor, masks: Tensor, item: Mapping, padded: tuple[int, int], classes: EvalClasses
    ) -> dict:
        """Make the results of one image from class log-probabilities (Q, K + 1) and mask logits (Q, h, w)."""
        return image_results(scores, masks, item, padded, classes.things, self.results)
