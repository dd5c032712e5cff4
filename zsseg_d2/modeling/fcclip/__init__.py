"""FC-CLIP's trainable parts (Yu et al. 2023): pixel decoder, query decoder, ensemble and losses."""
