/* hf.h - a Hugging Face directory: config.json, safetensors, and the small files beside them. */
#ifndef ENGINE_LOAD_HF_H
#define ENGINE_LOAD_HF_H

#include "engine/load/checkpoint.h"

extern const struct checkpoint_format hf_format;

#endif
