"""Every config key of the project, each with its meaning. FC-CLIP's own tree, so that its YAML files merge."""

from __future__ import annotations

from detectron2.config import CfgNode as CN
from detectron2.projects.deeplab import add_deeplab_config

from .compat import default_device


def add_zsseg_config(cfg: CN) -> None:
    """Add every key of zsseg_d2 to a Detectron2 config, in place.

    Args:
        cfg: as returned by ``detectron2.config.get_cfg()``.
    """
    add_deeplab_config(cfg)  # WarmupPolyLR's keys and others that FC-CLIP's YAML files mention
    cfg.DATASETS.FILES = []  # YAML files that describe datasets, relative to the config; several configs add up
    # further test sets, evaluated after DATASETS.TEST at the end of a training and by --eval-only, never on the way: a
    # test set on which nothing is chosen, or the val set of the pre-training, where PQ lost is what was forgotten
    cfg.DATASETS.FINAL_TEST = ()
    _add_input(cfg)
    _add_solver(cfg)
    _add_mask_former(cfg)
    _add_composite_nets(cfg)
    _add_fc_clip(cfg)
    _add_auto_vocabulary(cfg)
    _add_zsseg(cfg)
    _add_methods(cfg)
    _add_referring(cfg)
    _add_composites(cfg)


def _add_input(cfg: CN) -> None:
    cfg.INPUT.FORMAT = "RGB"
    # "panoptic" (resize, crop, flip), "panoptic_lsj" (jitter), "semantic", "phrase", "composites"
    cfg.INPUT.DATASET_MAPPER_NAME = "panoptic"
    cfg.INPUT.COLOR_AUG_SSD = False  # brightness, contrast, saturation and hue jitter of SSD
    cfg.INPUT.SIZE_DIVISIBILITY = -1  # kept for FC-CLIP's YAML files; the model pads and masks, the mapper never does
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0  # try again while one class fills more than this part of the crop
    cfg.INPUT.MAX_PIXELS = 50_000_000  # larger image files are refused before they are decoded; at most 178 million
    # images whose EXIF data turn or mirror them: "refuse", "apply" (labels fit the image as it is shown) or "ignore"
    cfg.INPUT.EXIF_ORIENTATION = "refuse"
    cfg.INPUT.IMAGE_SIZE = 1024  # large-scale jitter: side of the square that is cropped, in pixels
    cfg.INPUT.MIN_SCALE = 0.1  # large-scale jitter: smallest resize factor
    cfg.INPUT.MAX_SCALE = 2.0  # large-scale jitter: largest resize factor


def _add_solver(cfg: CN) -> None:
    cfg.SOLVER.OPTIMIZER = "ADAMW"  # "ADAMW", "ADAM" or "SGD"
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0  # weight decay of embeddings (queries, levels, void)
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1  # learning-rate factor of trainable backbone parameters (CLIP has none)
    p = cfg.SOLVER.PLATEAU = CN()  # of SOLVER.LR_SCHEDULER_NAME "ReduceLROnPlateau"
    p.DATASET = ""  # dataset whose score decides; "": the first of DATASETS.TEST. Not the one that is reported
    p.METRIC = "mask_iou"  # the score, by its name in the evaluator's results
    p.MODE = "max"  # "max": higher is better; "min": lower is
    p.PERIOD = 500  # iterations between evaluations on the dataset
    p.FACTOR = 0.1  # the learning rate is multiplied by it
    p.PATIENCE = 3  # after this many evaluations without an improvement
    p.THRESHOLD = 0.0001  # least relative improvement
    p.COOLDOWN = 0  # evaluations after a reduction that do not count
    p.MIN_FACTOR = 0.0  # the rate does not fall below this part of SOLVER.BASE_LR


def _add_mask_former(cfg: CN) -> None:
    m = cfg.MODEL.MASK_FORMER = CN()
    m.DEEP_SUPERVISION = True  # losses after every decoder layer, not only the last
    m.NO_OBJECT_WEIGHT = 0.1  # weight of the no-object class in the cross-entropy
    m.CLASS_WEIGHT = 2.0  # weight of the cross-entropy, in the loss and in matching
    m.DICE_WEIGHT = 5.0  # weight of the dice loss, in the loss and in matching
    m.MASK_WEIGHT = 5.0  # weight of the binary cross-entropy of masks, in the loss and in matching
    m.NHEADS = 8  # attention heads of the query decoder
    m.DROPOUT = 0.0  # kept for FC-CLIP's YAML files; its decoder uses none
    m.DIM_FEEDFORWARD = 2048  # hidden width of the decoder's feed-forward layers
    m.ENC_LAYERS = 0  # kept for FC-CLIP's YAML files; unused
    m.DEC_LAYERS = 10  # predictions: the learned queries and DEC_LAYERS - 1 decoder layers
    m.PRE_NORM = False  # only post-norm is implemented, as in the released models
    m.HIDDEN_DIM = 256  # width C of queries
    m.NUM_OBJECT_QUERIES = 250  # number Q of queries
    m.TRANSFORMER_IN_FEATURE = "multi_scale_pixel_decoder"  # kept for FC-CLIP's YAML files
    m.ENFORCE_INPUT_PROJ = False  # project pixel-decoder features even where widths agree
    m.TRANSFORMER_DECODER_NAME = "MultiScaleExtendedMaskTransformerDecoder"  # kept for FC-CLIP's YAML files
    m.SIZE_DIVISIBILITY = 32  # images of a batch are padded to a multiple of this
    m.TRAIN_NUM_POINTS = 112 * 112  # points P at which masks are compared
    m.OVERSAMPLE_RATIO = 3.0  # candidates for a point, from which uncertain ones are taken (PointRend)
    m.IMPORTANCE_SAMPLE_RATIO = 0.75  # share of points taken for their uncertainty (PointRend)
    m.TEST = CN()
    m.TEST.SEMANTIC_ON = True  # results hold "sem_seg"
    m.TEST.INSTANCE_ON = False  # results hold "instances"
    m.TEST.PANOPTIC_ON = False  # results hold "panoptic_seg"
    m.TEST.OBJECT_MASK_THRESHOLD = 0.0  # queries below this class score take no part in the panoptic map
    m.TEST.OVERLAP_THRESHOLD = 0.8  # a segment must win this part of its mask's area
    m.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE = False  # semantic scores at the original size, not resized after

    h = cfg.MODEL.SEM_SEG_HEAD
    h.NAME = "FCCLIPHead"
    h.MASK_DIM = 256  # width of the per-pixel mask features
    h.TRANSFORMER_ENC_LAYERS = 6  # layers of the deformable encoder
    h.TRANSFORMER_ENC_DIM_FEEDFORWARD = 1024  # hidden width of the deformable encoder's feed-forward layers
    h.PIXEL_DECODER_NAME = "MSDeformAttnPixelDecoder"
    h.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES = ["res3", "res4", "res5"]
    h.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS = 4  # sampled points a head and a level
    h.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS = 8  # heads of deformable attention
    h.CONVS_DIM = 256  # width of the pixel decoder
    h.NUM_CLASSES = 0  # K of the training vocabulary; 0: as many as that has; another number is compared with it
    h.NORM = "GN"
    h.IN_FEATURES = ["res2", "res3", "res4", "res5"]

    s = cfg.MODEL.SWIN = CN()  # Mask2Former's node: accepted so that its YAML files merge, never read
    for key, value in (
        ("PRETRAIN_IMG_SIZE", 224),
        ("PATCH_SIZE", 4),
        ("EMBED_DIM", 96),
        ("DEPTHS", [2, 2, 6, 2]),
        ("NUM_HEADS", [3, 6, 12, 24]),
        ("WINDOW_SIZE", 7),
        ("MLP_RATIO", 4.0),
        ("QKV_BIAS", True),
        ("QK_SCALE", None),
        ("DROP_RATE", 0.0),
        ("ATTN_DROP_RATE", 0.0),
        ("DROP_PATH_RATE", 0.3),
        ("APE", False),
        ("PATCH_NORM", True),
        ("OUT_FEATURES", ["res2", "res3", "res4", "res5"]),
        ("USE_CHECKPOINT", False),
    ):
        s[key] = value


def _add_composite_nets(cfg: CN) -> None:
    c = cfg.MODEL.COMPOSITES = CN()
    c.NET = "unet"  # "unet_small", "unet", "unet_large" (0.5, 2 and 8 million parameters) or "eva", the published one
    c.INPUT = "pair"  # what the net sees: "pair" (composite and background), "composite" or "grey" (the pair in grey)
    c.DEPTH = True  # the net has a depth output
    c.DEPTH_MAX = 1.0  # the largest depth that can be predicted: metres; 1 of relative depth
    # sums of bce, dice, ssim, rmse, l1, gradient and ssi (scale-and-shift-invariant), as in "bce + 0.5*dice"
    c.MASK_LOSS = "bce+dice"
    c.DEPTH_LOSS = "ssim+gradient+0.1*l1"  # of the depth as a share of DEPTH_MAX, DenseDepth's sum; "": none
    c.THRESHOLD = 0.5  # probability above which a pixel is in the mask


def _add_fc_clip(cfg: CN) -> None:
    cfg.MODEL.DEVICE = default_device()
    cfg.MODEL.PRECISION = "float32"  # at test time: "float32", or "bfloat16" for matrix products and convolutions
    cfg.MODEL.META_ARCHITECTURE = "FCCLIP"
    cfg.MODEL.BACKBONE.NAME = "CLIP"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.PIXEL_MEAN = [122.7709383, 116.7460125, 104.09373615]  # CLIP's, RGB, 0 to 255
    cfg.MODEL.PIXEL_STD = [68.5005327, 66.6321579, 70.32316305]
    f = cfg.MODEL.FC_CLIP = CN()
    f.CLIP_MODEL_NAME = "convnext_large_d_320"  # an open_clip model, a packaged one ("mini_rn"), or a JSON config file
    f.CLIP_PRETRAINED_WEIGHTS = "laion2b_s29b_b131k_ft_soup"  # a local file or an open_clip tag; "": random weights
    f.EMBED_DIM = 768  # width E of CLIP's embedding; compared with the CLIP model when the model is built
    f.GEOMETRIC_ENSEMBLE_ALPHA = 0.4  # weight of CLIP's score for seen classes
    f.GEOMETRIC_ENSEMBLE_BETA = 0.8  # weight of CLIP's score for unseen classes
    f.ENSEMBLE_ON_VALID_MASK = False  # no CLIP score for masks that are empty at stride 32 (on for ResNets)


def _add_auto_vocabulary(cfg: CN) -> None:
    a = cfg.MODEL.AUTO_VOCABULARY = CN()  # words found in each image (--words auto); the defaults are AutoSeg's
    a.CAPTIONER = "blip"  # "blip" (through transformers) or "mini" (embedded, for drawn scenes)
    a.CAPTIONER_WEIGHTS = "weights/blip-image-captioning-base"  # a folder of BLIP, or a file of the mini captioner
    a.SIZES = [384, 512]  # sides at which the captioner encodes an image, in pixels
    a.SQUARE = True  # squeeze the image into squares; False: SIZES are the short side, and the shape stays up to 4:1
    a.CLUSTERS = [2, 3, 4, 5, 6, 7, 8]  # numbers of clusters; each is tried at each size, and all clusterings vote
    a.POSITION_WIDTH = 256  # numbers of the sine code of a cell's position, a multiple of 4
    a.POSITION_WEIGHT = 1.0  # of that code beside the embedding; 0: positions do not count
    a.KMEANS_RESTARTS = 8  # k-means++ starts, of which the best is kept
    a.KMEANS_ITERATIONS = 100  # at most
    a.KMEANS_TOLERANCE = 1e-4  # k-means stops below this movement of the centers, in mean variances of the cells
    a.VOTE_FLOOR = 1e-6  # added to the votes for each cluster
    a.CRF_TAPS = 11  # cells a side of the Gaussian, odd
    a.CRF_ITERATIONS = 5  # of the mean field; 0: none
    a.CRF_WEIGHT = 6.0  # of neighboring cells; 0: none
    a.CRF_THETA = 0.8  # standard deviation of the Gaussian in cells
    a.MAJORITY_ROUNDS = 8  # of 3x3 majority, at most
    a.PASSES = 5  # captions per cluster
    a.MIN_TOKENS = 4  # of a caption
    a.MAX_TOKENS = 25  # of a caption
    a.TOP_P = 0.9  # nucleus sampling: tokens are drawn among the likeliest that together have this probability
    a.NO_REPEAT = 2  # runs of this many tokens do not occur twice in a caption; 0: they may
    a.MIN_LETTERS = 3  # of a noun
    a.MIN_SHARE = 0.0  # least share of the picture that the clusters of a word have
    a.MIN_SCORE = 0.0  # least score of a word: share of the captions of a cluster that name it, times its agreement
    a.WORD_LISTS = (
        ""  # YAML file of stop words, compounds, synonyms, …; "": zsseg_d2/auto_vocabulary/lists/english.yaml
    )
    a.SEED = 0  # of clusterings and captions
    a.GIVEN_NAMES = True  # evaluation also segments with the names of the test set, the upper bound


def _add_zsseg(cfg: CN) -> None:
    z = cfg.ZSSEG = CN()
    z.VOCABULARY = ""  # test vocabulary: packaged name or file; "": the test data set's own
    z.PRETRAINING_VOCABULARY = "coco_panoptic"  # what the weights were pre-trained on; decides the seen classes
    z.SEEN_CLASSES = "pretraining"  # seen set of the ensemble: "pretraining", "training" (the kept classes) or "both"
    z.TRAINING_VOCABULARY = "all"  # classifier in training: "all" names (deleted ones are negatives) or "kept" names
    z.DELETED_PIXELS = "no_object"  # "no_object": negatives of every mask; "ignore": no loss on pixels of no target
    # Out in the PQ table, by name or label id; ["none"]: no class; []: deleted in training, else those of 008
    z.OUT_CLASSES = []
    z.TEXT_CACHE = "auto"  # folder of cached text rows; "auto": $ZSSEG_D2_CACHE or ~/.cache/zsseg_d2; "": no cache
    z.PROCESS_TIMEOUT = 600  # seconds that the processes of a run wait for one that does not answer
    z.STRICT_WEIGHTS = True  # weights that are missing, not finite or of another type end the program; False: warn
    # write predictions under OUTPUT_DIR/inference: panoptic ones in COCO format, masks of phrases as PNG
    z.SAVE_PREDICTIONS = False
    z.MEASURES = []  # beside PQ, in the same table and JSON: "mIoU" of the semantic output, "AP" of the instances
    z.WORD_MAPPING = ""  # JSON that maps found words to classes, for evaluation: docs/auto_vocabulary.md
    z.WORD_COSINE = 0.9  # least cosine of a found word and a class name, for the mapping by CLIP's texts
    z.VIS_IMAGES = 0  # number of images to visualize (image, prediction, ground truth) in an evaluation
    z.ENSEMBLE = True  # join CLIP's own region scores at test time; False: the decoder's (in-vocabulary) scores alone
    z.VOID_RULE = True  # scale class scores by 1 - p_void; False: void takes no part, every query keeps a class
    z.TOWER = CN()  # configs refer to these two as ${ZSSEG.TOWER.NAME}; the files of configs/towers set them
    z.TOWER.NAME = ""  # name of the CLIP tower in output folders
    z.TOWER.WEIGHTS = ""  # FC-CLIP weights trained on the tower, from which the methods start
    z.VOID_SUPPRESSION = 0.0  # w of p_void · (1 - w · largest CLIP probability) at test time; 0: none


def _add_methods(cfg: CN) -> None:
    z = cfg.ZSSEG
    p = z.PSEUDO_LABELS = CN()
    p.MIN_SCORE = 0.5  # segments whose class score is below take no part
    p.MIN_AREA = 32  # least area of a pseudo-label, in pixels of the original image
    p.MIN_VISIBLE = 0.5  # least part of the predicted segment that lies where no kept label is
    p.REGIONS = False  # the regions without labels are the masks, and the model names them
    p.MIN_SHARE = 0.15  # share of a region that a predicted segment covers at least to have a part of it
    p.MIN_DELETED = 0.0  # least probability that a region shows a deleted class

    z.MODEL_ONE = CN()
    z.MODEL_ONE.WEIGHTS = ""  # of two models: initial weights of the first, the out-of-vocabulary specialist
    z.MODEL_TWO = CN()
    z.MODEL_TWO.WEIGHTS = ""  # of two models: initial weights of the second, the in-vocabulary one

    m = z.MERGE = CN()
    m.PRIORITY = "out_first"  # pixels that both models claim: "out_first", "in_first" or "score" (the surer segment)
    m.MIN_VISIBLE = 0.5  # a segment must keep this part of its pixels in the merge, or it leaves the map

    d = z.DISTILLATION = CN()
    d.TEACHER_WEIGHTS = ""  # the frozen teacher's weights
    d.LOSS = "mse"  # "mse" of class logits or "kl" of class probabilities
    d.WEIGHT = 1.0  # weight of the class term
    d.TEMPERATURE = 2.0  # of "kl": logits are divided by it, the loss is multiplied by its square
    d.CLASSES = "deleted"  # compare the logits of "all" classes and void, or of the "deleted" classes
    d.PAIRING = "index"  # pair the student's and the teacher's queries by "index" or "hungarian" matching
    d.MASK_WEIGHT = 0.0  # weight of the mask term: student's masks against the teacher's Out queries

    t = z.MEAN_TEACHER = CN()
    t.MOMENTUM = 0.999  # of the moving average of the student's weights, which is the teacher; 1: the teacher stays
    t.WEIGHT = 1.0  # weight of the losses of the teacher's targets, times its confidence
    t.MIN_CONFIDENCE = 0.0  # the teacher's queries that are less sure are no targets
    t.STRENGTH = 1.0  # of the student's view (colors, gray, blur), from 0, the teacher's own, to 1
    t.ENSEMBLE = True  # CLIP's scores join the teacher's, as at test time; False: its decoder's scores alone
    t.PREDICTION = "teacher"  # test with "teacher" or "student"

    q = z.FROZEN_QUERIES = CN()
    q.ADAPTER = 64  # hidden channels of the adapters through which new queries read the frozen pixel decoder; 0: none

    a = z.ANCHOR = CN()
    a.WEIGHTS = ""  # weights that the trained ones are pulled back to
    a.WEIGHT = 0.01  # w of the penalty w / 2 · squared distance

    e = z.EWC = CN()
    e.DATASET = ""  # registered dataset of the pre-training, whose gradients say how much each weight matters there
    e.IMAGES = 200  # number of its images, evenly spread over it; 0: all

    i = z.INTERPOLATION = CN()  # of InterpolatedFCCLIP, between MODEL_ONE and MODEL_TWO for each image
    i.STATISTICS_ONE = ""  # of CLIP's embeddings over the first model's training set: tools/feature_statistics.py
    i.STATISTICS_TWO = ""  # the same of the second one's
    i.SHRINKAGE = 0.01  # of covariances towards a multiple of the identity, from 0 to 1
    i.TEMPERATURE = 1.0  # log-likelihoods are divided by it; the larger, the nearer to equal shares

    w = z.LOW_RANK = CN()
    w.RANK = 8  # r of the trained updates of frozen matrices
    w.ALPHA = 16.0  # an update is multiplied by ALPHA / RANK

    r = z.REPLAY = CN()
    r.DATASET = (
        ""  # registered dataset of the pre-training that is mixed into the batches, with its own names; "": none
    )
    r.SHARE = 0.25  # of the images of a batch; at least one is of it, and one of DATASETS.TRAIN
    r.SIZE = 0  # number of its images that are used, evenly spread over it; 0: all

    f = z.FUSION = CN()
    f.NAME = "softmax_entropy"  # how the class logits of two models become one; see zsseg_d2.modeling.fusion
    f.WEIGHT = 0.6  # of "weighted": the first model's share
    f.THRESHOLD = 0.7  # of "softmax_threshold": a query whose largest probability is above is confident
    f.TOP_K = 10  # of "softmax_topk": entries of each softmax that are kept
    f.SCALE = 1.0  # fused probabilities are multiplied by it before they stand as logits; 1: as published
    f.PAIRING = "index"  # pair the two models' queries by "index" or "hungarian" matching
    f.PREDICTION = "fused"  # test with "one", "two" or "fused"
    f.DEEP_SUPERVISION = False  # com_ losses after every decoder layer, not only the last
    f.MEAN_TEACHER = False  # model one has a mean teacher (ZSSEG.MEAN_TEACHER), whose targets both models learn


def _add_referring(cfg: CN) -> None:
    p = cfg.INPUT.PHRASE = CN()
    p.SIZE = 352  # side of the square that images are resized to, in pixels; a multiple of the tower's patch or stride
    p.CROP = True  # in training: a random square as large as the image allows, in place of the whole image squeezed
    p.MIN_VISIBLE = 0.05  # share of a mask's pixels that the random square keeps
    p.PER_IMAGE = 1  # phrases of one image that share a training sample, and so the CLIP features of its image
    p.NEGATIVE_PROBABILITY = 0.2  # in training: share of the phrases that are of another image, with an empty mask
    p.PROMPTS_TRAIN = "shuffle+"  # words around a phrase: "plain", "fixed", "shuffle" or "shuffle+" (one is drawn)
    p.PROMPTS_TEST = "fixed"  # the same at test time: "plain" or "fixed"

    r = cfg.MODEL.REFERRING = CN()
    r.DECODER = "rd64-refined"  # "model0", "model1", "model2", "rd64", "rd64-refined" or "unet"
    r.CLIP_LAYERS = []  # blocks of a ViT that are read, from 0; []: the decoder's own, for "unet" evenly spread
    r.KERNELS = []  # transposed convolutions of CLIPSeg; []: the decoder's own. Their product is the tower's patch
    r.FEEDFORWARD = 2048  # hidden width of CLIPSeg's transformer layers
    r.DROPOUT = 0.0  # of CLIPSeg's transformer layers in training
    # channels of the U-Net's stages, deepest first; on a ViT the last reads the image itself
    r.UNET_DIMS = [256, 128, 64, 32]
    r.UNET_SIMILARITY = False  # the U-Net is also given CLIP's own cosine of each cell and the prompt
    r.LOSS = "bce+dice"  # a sum of bce, dice and focal, with weights as in "bce + 0.5*dice"
    r.FOCAL_GAMMA = 2.0  # 0 or at least 1; 0 is bce
    r.FOCAL_ALPHA = -1.0  # weight of foreground in the focal loss, background has the rest of 1; -1: both 1
    # the prompt: "text", "image" (another image of what is meant) or "mixed" (in training at random)
    r.CONDITION = "text"
    r.TEXT_SHARE = 0.5  # of "mixed" at test time: the text's share of the prompt
    r.THRESHOLD = 0.5  # probability above which a pixel is in the mask: 0.01, 0.02 .. 0.99

    s = cfg.ZSSEG.SAMPLES = CN()
    s.PERIOD = 0  # iterations between visualizations of a few fixed test samples in training; 0: none
    s.COUNT = 4  # how many samples


def _add_composites(cfg: CN) -> None:
    c = cfg.INPUT.COMPOSITES = CN()
    c.FOREGROUNDS = ""  # folder of RGBA images of your own for composites_{train,val,test}; "": embedded
    c.BACKGROUNDS = ""  # folder of backgrounds of your own
    c.FOREGROUND_DEPTH = ""  # folder with a depth map (8 or 16 bits) for every foreground; "": no depth
    c.BACKGROUND_DEPTH = ""  # the same for every background
    c.DEPTH_KIND = "metric"  # what the values of these maps are: "metric" or "relative"
    c.DEPTH_UNIT = 0.001  # of metric maps: metres of one step
    c.DEPTH_NEAR_IS = "small"  # of relative maps: whether near pixels have "small" or "large" values
    c.SIZE = 96  # side of a composite in pixels
    # in training: [first iteration, side] of each stage of progressive resolution; []: SIZE throughout
    c.STAGES = []
    c.SCALE = [0.35, 0.65]  # longer side of a foreground, as a share of SIZE: smallest and largest; published: 0.5, 0.5
    c.POSITIONS = "random"  # "random", inclusive of both borders, or the published 5x4 "grid"
    c.PER_PAIR = 20  # random positions for a foreground, a background and a flip
    c.GRID_STEP = 0  # pixels between the grid's positions, published: 28; 0: SIZE / 8
    c.OVERHANG = 0.0  # share of a foreground's sides that may lie beyond the border at random positions
    c.FLIPS = True  # each composite also with the mirrored foreground
    c.SEED = 0  # of sizes and positions; SEED is that of training
    c.TEST_IMAGES = 400  # composites of a test set that are evaluated, spread over all; 0: all
    d = c.DISTURBANCE = CN()
    d.ENABLED = True  # disturb the background that the model is given, in training and in the evaluation
    d.SHIFT = 2  # largest shift along rows and columns, in pixels
    d.EXPOSURE = 0.1  # largest change of brightness, as a share
    d.NOISE = 4.0  # largest standard deviation of noise, in grey levels
    d.JPEG = [70, 95]  # lowest and highest JPEG quality; 0, 0: none
    a = c.AUGMENT = CN()
    a.CROP = 0.75  # in training: smallest side of a random square, as a share of SIZE, which is enlarged to it; 1: none
    a.MIRROR = 0.5  # in training: probability of a mirror of both images and both targets
