"""FC-CLIP (Yu et al. 2023): masks and classes from one frozen convolutional CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_sem_seg_head
from torch import Tensor, nn

from ..class_sets import EvalClasses, TrainingClasses, eval_classes, inference_precision, training_classes
from ..modeling.clip.text_classifier import TextClassifier
from ..modeling.fcclip.criterion import Prediction, SetCriterion, Target
from ..modeling.fcclip.ensemble import apply_void_rule, geometric_ensemble, suppress_void
from ..modeling.fcclip.query_decoder import Queries, class_logits
from ..modeling.postprocessing import instance_inference, panoptic_inference, semantic_inference
from ..modeling.upsampling import Upsampler, downsample_masks
from ..text_cache import TextCache
from ..vocabulary import Vocabulary


@dataclass(frozen=True)
class DecoderOutput:
    """One padded batch in training: by layer, logits of all names and void (B, Q, K + 1) and mask embeddings (B, Q, C);
    mask features (B, C, h, w)."""

    logits: list[Tensor]
    mask_embed: list[Tensor]
    mask_features: Tensor


@META_ARCH_REGISTRY.register()
class FCCLIP(nn.Module):
    """Frozen CLIP → pixel decoder → query decoder → classes by text rows; CLIP's own region scores join at test time.

    ``forward`` takes Detectron2's list of dicts. In training it returns weighted losses; else a result dict an image, with
    ``sem_seg`` (K, H, W), ``panoptic_seg`` ((H, W) map, segments) and ``instances`` as switched on in
    ``MODEL.MASK_FORMER.TEST``. Images of one padded size share a batch and others do not, so that no image's result
    depends on its company.
    """

    @configurable
    def __init__(
        self,
        *,
        config: CfgNode,
        backbone: nn.Module,
        sem_seg_head: nn.Module,
        criterion: SetCriterion,
        training: TrainingClasses,
    ) -> None:
        super().__init__()
        self.cfg = cfg = config  # Detectron2 would take an argument called cfg for all that is to be built
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.training_classes = training
        self.void_embedding = nn.Embedding(1, backbone.embed_dim)
        self.text_classifier = TextClassifier(TextCache.from_setting(cfg.ZSSEG.TEXT_CACHE))
        self.register_buffer("pixel_mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(cfg.MODEL.PIXEL_STD).view(-1, 1, 1), persistent=False)
        self._eval_classes: dict[str | None, EvalClasses] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        training = training_classes(cfg)
        eval_classes(cfg, None)  # contradictions end here, before weights are read
        backbone = build_backbone(cfg)
        former = cfg.MODEL.MASK_FORMER
        criterion = SetCriterion(
            class_weight=former.CLASS_WEIGHT,
            mask_weight=former.MASK_WEIGHT,
            dice_weight=former.DICE_WEIGHT,
            no_object_weight=former.NO_OBJECT_WEIGHT,
            num_points=former.TRAIN_NUM_POINTS,
            oversample_ratio=former.OVERSAMPLE_RATIO,
            importance_sample_ratio=former.IMPORTANCE_SAMPLE_RATIO,
        )
        head = build_sem_seg_head(cfg, backbone.output_shape())
        return {"config": cfg, "backbone": backbone, "sem_seg_head": head, "criterion": criterion, "training": training}

    def with_shared_backbone(self) -> FCCLIP:
        """Another model with the same settings, over the same CLIP and text rows, with random weights."""
        head = build_sem_seg_head(self.cfg, self.backbone.output_shape())
        other = FCCLIP(
            config=self.cfg,
            backbone=self.backbone,
            sem_seg_head=head,
            criterion=self.criterion,
            training=self.training_classes,
        )
        other.text_classifier = self.text_classifier
        return other

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, Tensor] | list[dict]:
        return self.losses(batched_inputs) if self.training else self.inference(batched_inputs)

    # images -> batches

    def padded_batches(self, batched_inputs: list[dict]) -> list[tuple[list[int], Tensor]]:
        """Positions and normalised (B, 3, H, W) images, one batch a padded size; padding is the mean colour."""
        multiple = max(self.backbone.size_divisibility, self.cfg.MODEL.MASK_FORMER.SIZE_DIVISIBILITY)
        groups: dict[tuple[int, int], list[int]] = {}
        for position, item in enumerate(batched_inputs):
            h, w = item["image"].shape[-2:]
            groups.setdefault((-h % multiple + h, -w % multiple + w), []).append(position)
        batches = []
        for (height, width), positions in groups.items():
            batch = self.pixel_mean.new_zeros(len(positions), 3, height, width)
            for slot, position in zip(batch, positions):
                image = batched_inputs[position]["image"].to(self.device)
                slot[:, : image.shape[1], : image.shape[2]] = (image - self.pixel_mean) / self.pixel_std
            batches.append((positions, batch))
        return batches

    # queries -> scores

    def text_rows(self, vocabulary: Vocabulary) -> Tensor:
        """(T + 1, E) L2-normalised text rows, the learned void last."""
        return torch.cat(
            (self.text_classifier(vocabulary, self.backbone), F.normalize(self.void_embedding.weight, dim=-1))
        )

    def in_vocabulary_logits(self, queries: Queries, text: Tensor, vocabulary: Vocabulary) -> Tensor:
        """(B, Q, K + 1) the decoder's class logits, void last."""
        scale = self.sem_seg_head.predictor.logit_scale.exp().clamp(max=100)
        return class_logits(queries.class_embed.float(), text, vocabulary.synonyms_per_class, scale)

    # training

    def losses(self, batched_inputs: list[dict]) -> dict[str, Tensor]:
        """Weighted losses of a training batch (see :class:`SetCriterion`)."""
        batches = self.padded_batches(batched_inputs)
        decoded = self.decode([self.backbone(images) for _, images in batches])
        return self.criterion(*self.predictions(decoded), self.targets(batched_inputs, batches))

    def decode(self, features: Sequence[Mapping[str, Tensor]], return_aux: bool | None = None) -> list[DecoderOutput]:
        """What the decoder says in training of each batch of CLIP's features.

        Args:
            return_aux: or the last alone; None: every layer where they are supervised.
        """
        return_aux = self.cfg.MODEL.MASK_FORMER.DEEP_SUPERVISION if return_aux is None else return_aux
        vocabulary = self.training_classes.vocabulary
        text = self.text_rows(vocabulary)
        decoded = []
        for batch in features:
            queries, mask_features = self.sem_seg_head(batch, return_aux=return_aux)
            logits = [self.in_vocabulary_logits(q, text, vocabulary) for q in queries]
            decoded.append(DecoderOutput(logits, [q.mask_embed for q in queries], mask_features))
        return decoded

    def predictions(self, decoded: Sequence[DecoderOutput]) -> tuple[list[list[Prediction]], list[Tensor]]:
        """Predictions [layer][image] with the columns of the training classifier, and mask features [image] (C, h, w)."""
        kept = self.training_classes.kept
        columns = torch.tensor([*kept, len(self.training_classes.vocabulary)], device=self.device)
        layers: list[list[Prediction]] = [[] for _ in decoded[0].logits]
        for batch in decoded:
            for layer, logits, mask_embed in zip(layers, batch.logits, batch.mask_embed):
                layer.extend(Prediction(c, m) for c, m in zip(logits[..., columns], mask_embed))
        return layers, [image for batch in decoded for image in batch.mask_features]

    def targets(self, batched_inputs: list[dict], batches: Sequence[tuple[list[int], Tensor]]) -> list[Target]:
        """Ground truth in the order of the batches' images."""
        return [self._target(batched_inputs[p], images.shape[-2:]) for positions, images in batches for p in positions]

    def _target(self, item: dict, padded: Sequence[int]) -> Target:
        """Ground truth on the padded grid, labels as columns of the training classifier."""
        classes = self.training_classes
        leaked = sorted(set(item["instances"].gt_classes.tolist()) & set(classes.deleted))
        if leaked:
            raise ValueError(
                f"{item.get('file_name', 'a training image')} has labels of classes that the data set deletes: "
                f"{', '.join(classes.vocabulary.names[k] for k in leaked)}."
            )
        instances = item["instances"].to(self.device)
        column = torch.full((len(classes.vocabulary),), -1, device=self.device)
        column[list(classes.kept)] = torch.arange(len(classes.kept), device=self.device)
        labels = column[instances.gt_classes]

        def pad(mask: Tensor) -> Tensor:
            return F.pad(mask, (0, padded[1] - mask.shape[-1], 0, padded[0] - mask.shape[-2]))

        ignore = item.get("ignore")
        return Target(labels, pad(instances.gt_masks), None if ignore is None else pad(ignore.to(self.device)))

    # inference

    def classes(self, dataset: str | None) -> EvalClasses:
        """Classes of an evaluation, by the data set's name; each test set has its own."""
        if dataset not in self._eval_classes:
            self._eval_classes[dataset] = eval_classes(self.cfg, dataset)
        return self._eval_classes[dataset]

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict]) -> list[dict]:
        """A result dict an image, in the order of the input."""
        results: list[dict] = [{} for _ in batched_inputs]
        for positions, images in self.padded_batches(batched_inputs):
            items = [batched_inputs[p] for p in positions]
            with inference_precision(self.cfg, self.device):
                found = self.segment(self.backbone(images), items, tuple(images.shape[-2:]))
            for position, result in zip(positions, found):
                results[position] = result
        return results

    def segment(self, features: Mapping[str, Tensor], items: Sequence[dict], padded: tuple[int, int]) -> list[dict]:
        """A result dict for each image of one padded batch, from CLIP's features."""
        queries, masks = self.decode_last(features)
        results = []
        for slot, item in enumerate(items):
            classes = self.classes(item.get("dataset_name"))
            inside = self.in_vocab_logits(queries, slot, classes)
            dense = features["clip_vis_dense"][slot : slot + 1]
            scores = self.class_scores(inside, masks[slot : slot + 1], dense, classes)[0]
            results.append(self.postprocess(scores, masks[slot], item, padded, classes))
        return results

    @torch.no_grad()
    def decode_last(self, features: Mapping[str, Tensor]) -> tuple[Queries, Tensor]:
        """Queries of the last layer, and their mask logits (B, Q, h, w)."""
        queries = self.sem_seg_head.last(features)
        return queries, queries.mask_logits

    def in_vocab_logits(self, queries: Queries, slot: int, classes: EvalClasses) -> Tensor:
        """(1, Q, K + 1) in-vocabulary logits of one image of a batch."""
        single = Queries(queries.class_embed[slot : slot + 1], queries.mask_embed[slot : slot + 1])
        return self.in_vocabulary_logits(single, self.text_rows(classes.vocabulary), classes.vocabulary)

    def class_scores(self, inside: Tensor, masks: Tensor, dense: Tensor, classes: EvalClasses) -> Tensor:
        """(B, Q, K + 1) log-probabilities after the ensemble and the void rule.

        Args:
            inside: (B, Q, K + 1) in-vocabulary logits. masks: (B, Q, h, w) logits.
            dense: (B, C, H/32, W/32) ``clip_vis_dense``.
        """
        settings, ours = self.cfg.MODEL.FC_CLIP, self.cfg.ZSSEG
        void = inside.softmax(-1)[..., -1]
        if not ours.VOID_RULE:
            void = torch.zeros_like(void)
        if not (ours.ENSEMBLE or ours.VOID_SUPPRESSION):
            return apply_void_rule(inside[..., :-1], void)
        text = self.text_rows(classes.vocabulary)
        small = downsample_masks(masks, tuple(dense.shape[-2:]))
        regions = self.backbone.embed_regions(dense, small).float()
        outside = class_logits(regions, text, classes.vocabulary.synonyms_per_class, self.backbone.logit_scale)[
            ..., :-1
        ]
        valid = (small > 0).flatten(2).any(-1) if settings.ENSEMBLE_ON_VALID_MASK else None
        void = suppress_void(void, outside, ours.VOID_SUPPRESSION, valid)
        mixed = inside[..., :-1]
        if ours.ENSEMBLE:
            seen = torch.tensor(classes.seen, device=self.device)
            alpha, beta = settings.GEOMETRIC_ENSEMBLE_ALPHA, settings.GEOMETRIC_ENSEMBLE_BETA
            mixed = geometric_ensemble(mixed, outside, seen, alpha, beta, valid)
        return apply_void_rule(mixed, void)

    def postprocess(
        self, scores: Tensor, masks: Tensor, item: dict, padded: tuple[int, int], classes: EvalClasses
    ) -> dict:
        """Results of one image from class log-probabilities (Q, K + 1) and mask logits (Q, h, w)."""
        test = self.cfg.MODEL.MASK_FORMER.TEST
        image = tuple(item["image"].shape[-2:])
        size = (item.get("height", image[0]), item.get("width", image[1]))
        upsample = Upsampler(padded, image, size)
        result: dict = {}
        if test.SEMANTIC_ON:
            early = test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE or test.PANOPTIC_ON or test.INSTANCE_ON
            if early:
                result["sem_seg"] = semantic_inference(scores, masks, upsample)
            else:
                coarse = semantic_inference(scores, masks, Upsampler(padded, image, image))
                result["sem_seg"] = Upsampler(image, image, size)(coarse)
        if test.PANOPTIC_ON:
            result["panoptic_seg"] = panoptic_inference(
                scores, masks, upsample, classes.things, test.OBJECT_MASK_THRESHOLD, test.OVERLAP_THRESHOLD
            )
        if test.INSTANCE_ON:
            things = classes.things if test.PANOPTIC_ON else None
            top = self.cfg.TEST.DETECTIONS_PER_IMAGE
            result["instances"] = instance_inference(scores, masks, upsample, things, top)
        return result
